//! What a kernel costs: counted exactly on any machine, and how far that is from the floor.
//!
//! * [`Figures`]: the kernels of one call together, from the PTX machine's counters;
//! * [`occupancy`]: how many warps fit on a multiprocessor, from what ptxas says;
//! * [`plot`]: the roofline as a picture.

pub mod figures;
pub mod occupancy;
pub mod plot;

pub use figures::Figures;
