//! What products need of a number: lines of 128 bytes, and vectors of whatever width there is.

use std::cell::RefCell;
use std::ops::AddAssign;
use std::thread::LocalKey;

use pulp::Simd;

/// A thread's matrices that may be used again ([`super::spare`]).
pub(crate) type Spare<N> = RefCell<Vec<Vec<N>>>;

/// float64 for values, float32 for bounds ([`super::upward`]).
pub(crate) trait Number: Copy + Default + AddAssign + Send + Sync + 'static {
    /// Numbers in 128 bytes: two of the widest vectors.
    const WIDTH: usize;
    /// So many numbers.
    type Line: Copy + Send + Sync + AsRef<[Self]> + AsMut<[Self]>;
    const ZEROS: Self::Line;

    /// The line that these numbers are, if so many.
    fn line_mut(numbers: &mut [Self]) -> Option<&mut Self::Line>;

    type Vector<S: Simd>: Copy;

    fn vectors<S: Simd>(line: &Self::Line) -> &[Self::Vector<S>];
    fn vectors_mut<S: Simd>(line: &mut Self::Line) -> &mut [Self::Vector<S>];
    fn splat<S: Simd>(self, simd: S) -> Self::Vector<S>;
    /// `a·b + c`, in one rounding where the machine can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;

    fn spare() -> &'static LocalKey<Spare<Self>>;
}

macro_rules! number {
    ($number:ty, $width:literal, $vector:ident, $vectors:ident, $vectors_mut:ident, $splat:ident, $mul_add:ident) => {
        impl Number for $number {
            const WIDTH: usize = $width;
            type Line = [$number; $width];
            const ZEROS: Self::Line = [0.0; $width];

            #[inline(always)]
            fn line_mut(numbers: &mut [$number]) -> Option<&mut Self::Line> {
                numbers.try_into().ok()
            }

            type Vector<S: Simd> = S::$vector;

            #[inline(always)]
            fn vectors<S: Simd>(line: &Self::Line) -> &[S::$vector] {
                S::$vectors(line).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(line: &mut Self::Line) -> &mut [S::$vector] {
                S::$vectors_mut(line).0
            }

            #[inline(always)]
            fn splat<S: Simd>(self, simd: S) -> S::$vector {
                simd.$splat(self)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(
                simd: S,
                a: S::$vector,
                b: S::$vector,
                c: S::$vector,
            ) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            fn spare() -> &'static LocalKey<Spare<Self>> {
                thread_local! {
                    static SPARE: Spare<$number> = const { RefCell::new(Vec::new()) };
                }
                &SPARE
            }
        }
    };
}

number!(
    f64,
    16,
    f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_e_f64s
);
number!(
    f32,
    32,
    f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_e_f32s
);
