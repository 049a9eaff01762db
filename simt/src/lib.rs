//! A PTX machine for the CPU: lex, parse, validate, lower, execute, with sanitizers and counters.
//!
//! ```
//! use simt::{Arg, Launch, Machine, Options, compile};
//!
//! let text = "
//! .version 7.0
//! .target sm_80
//! .address_size 64
//! .visible .entry double(.param .u64 data) {
//!     .reg .b32 %r<3>;
//!     .reg .b64 %rd<4>;
//!     ld.param.u64 %rd1, [data];
//!     mov.u32 %r1, %tid.x;
//!     mul.wide.u32 %rd2, %r1, 4;
//!     add.s64 %rd3, %rd1, %rd2;
//!     ld.global.u32 %r2, [%rd3];
//!     add.s32 %r2, %r2, %r2;
//!     st.global.u32 [%rd3], %r2;
//!     ret;
//! }";
//! let mut machine = Machine::new(1 << 20);
//! let loaded = machine.load(&compile(text)?)?;
//! let data: Vec<u8> = (0..64u32).flat_map(u32::to_le_bytes).collect();
//! let at = machine.allocate_from(&data, "data")?;
//! let args = [Arg::Pointer(at)];
//! let launch = Launch { block: [64, 1, 1], ..Launch::new("double", &args) };
//! machine.launch(&loaded, &launch, &Options::default())?;
//! let mut back = [0; 4];
//! machine.read(at + 4 * 21, &mut back)?;
//! assert_eq!(u32::from_le_bytes(back), 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::precedence,
    reason = "bit manipulation reads better as the manual writes it"
)]

pub mod check;
pub mod count;
pub mod diagnostics;
pub mod exec;
pub mod isa;
pub mod lower;
pub mod memory;
pub mod ptx;
pub mod tensor_map;
mod watch;

pub use check::{Checks, Finding};
pub use count::Counters;
pub use exec::fault::{Fault, FaultKind};
pub use exec::machine::{Arg, Launch, LaunchError, Loaded, Machine, Options, Order, Report};
pub use lower::{Validated, validate};
pub use memory::device::{MemoryError, Rights};

/// Parses, validates and lowers a module.
///
/// # Errors
/// Everything found wrong or unsupported in the text.
pub fn compile(text: &str) -> Result<Validated, diagnostics::Diagnostics> {
    validate(ptx::parse(text)?)
}
