//! The front end: PTX text to a syntax tree with positions.
//!
//! ```
//! let module = simt::ptx::parse(
//!     ".version 7.0\n.target sm_80\n.address_size 64\n\
//!      .visible .entry k(.param .u64 out, .param .u32 n) { ret; }",
//! )?;
//! let entry = module.entry("k").expect("it is there");
//! assert_eq!(entry.params().len(), 2);
//! # Ok::<(), simt::diagnostics::Diagnostics>(())
//! ```

pub mod ast;
pub mod lexer;
mod parser;
pub mod source;
pub mod types;

pub use ast::{Entry, Module, Param};
pub use parser::parse;
