//! The flash attention kernels on the PTX machine, against the float64 oracle.

/// A module of tests for each function that is generic in the type. The 16-bit kernels copy by
/// `cp.async`: until the PTX machine runs that, their tests are shown as ignored.
macro_rules! for_each_type {
    ($($name:ident;)*) => {
        $(mod $name {
            #[test]
            fn f32() {
                super::$name::<f32>();
            }
            #[test]
            #[ignore = "the PTX machine does not run cp.async yet"]
            fn f16() {
                super::$name::<half::f16>();
            }
            #[test]
            #[ignore = "the PTX machine does not run cp.async yet"]
            fn bf16() {
                super::$name::<half::bf16>();
            }
        })*
    };
}

mod backward;
mod case;
mod forward;
mod refusals;
mod traps;
