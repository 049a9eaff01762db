//! What the attention tasks share: shapes and options of a call, how calls are made, what right
//! means for outputs with bounds.

pub(super) mod contract;
mod draft;
mod kernels;
pub(super) mod mixed;
pub(super) mod needles;
mod odd;
mod places;
mod problem;
mod row;

pub(super) use draft::{Draft, named, tensor};
pub(super) use kernels::Setup;
pub(super) use odd::Spot;
pub(super) use problem::{Problem, Shape};
pub(super) use row::{Head, TILE};
