//! Float64 oracles: for every output element the value and a derived bound on the error a right
//! implementation may make.
#![forbid(unsafe_code)]
