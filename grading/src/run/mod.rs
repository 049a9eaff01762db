//! `touchstone run`: anyone's PTX on this machine's CPU.

pub mod argument;
