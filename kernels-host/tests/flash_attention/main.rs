//! The flash attention kernels on the PTX machine, against the float64 oracle.

/// A module of tests for each function that is generic in the type.
macro_rules! for_each_type {
    ($($name:ident;)*) => {
        $(mod $name {
            #[test]
            fn f32() {
                super::$name::<f32>();
            }
            #[test]
            fn f16() {
                super::$name::<half::f16>();
            }
            #[test]
            fn bf16() {
                super::$name::<half::bf16>();
            }
        })*
    };
}

mod backward;
mod case;
mod counted;
mod forward;
mod refusals;
mod traps;
mod unordered;
