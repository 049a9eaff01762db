//! Row-major views whose shape has been checked once, so that the formulas need not.

use crate::error::{Error, Result};

/// A row-major, contiguous tensor of rank `N` that somebody else owns.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T, const N: usize> {
    name: &'static str,
    data: &'a [T],
    shape: [usize; N],
}

/// Number of elements of `shape`, or an error naming `argument` when it cannot be addressed.
pub fn elements(argument: &'static str, shape: &[usize]) -> Result<usize> {
    // A zero anywhere makes the tensor empty, whatever the other sizes.
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .ok_or_else(|| Error::TooLarge {
            argument,
            shape: shape.to_vec(),
        })
}

/// `size` must be at least one.
pub fn nonzero(argument: &'static str, size: usize) -> Result<()> {
    if size == 0 {
        Err(Error::Zero { argument })
    } else {
        Ok(())
    }
}

impl<'a, T, const N: usize> View<'a, T, N> {
    /// Views `data` as `shape`. `name` is what errors call it.
    pub fn new(name: &'static str, data: &'a [T], shape: [usize; N]) -> Result<Self> {
        let expected = elements(name, &shape)?;
        if data.len() != expected {
            return Err(Error::Length {
                argument: name,
                shape: shape.to_vec(),
                expected,
                got: data.len(),
            });
        }
        Ok(Self { name, data, shape })
    }

    /// What errors call this tensor.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// All elements, row-major.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> [usize; N] {
        self.shape
    }

    /// Errors unless the shape is `expected`; `because` says where that comes from.
    pub fn expect_shape(&self, expected: [usize; N], because: &'static str) -> Result<()> {
        if self.shape == expected {
            return Ok(());
        }
        Err(Error::Shape {
            argument: self.name,
            expected: expected.to_vec(),
            got: self.shape.to_vec(),
            because,
        })
    }

    /// The innermost row at `index`, one coordinate per outer axis (row `r` of a matrix is
    /// `row(&[r])`, head `h` of token `t` in `[T,H,D]` is `row(&[t, h])`).
    ///
    /// # Panics
    /// When there are not `N − 1` coordinates or one is out of range: a mistake in a formula,
    /// never of the input, whose shape was checked by [`View::new`].
    pub fn row(&self, index: &[usize]) -> &'a [T] {
        assert_eq!(index.len() + 1, N, "`{}` has rank {N}", self.name);
        let mut flat = 0;
        for (&i, &size) in index.iter().zip(&self.shape) {
            assert!(
                i < size,
                "`{}`: {index:?} outside {:?}",
                self.name,
                self.shape
            );
            flat = flat * size + i;
        }
        let width = self.shape[N - 1];
        &self.data[flat * width..(flat + 1) * width]
    }
}

impl<T: Copy, const N: usize> View<'_, T, N> {
    /// The element at `index`.
    ///
    /// # Panics
    /// As [`View::row`].
    pub fn at(&self, index: [usize; N]) -> T {
        self.row(&index[..N - 1])[index[N - 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_elements_are_row_major() {
        let data: Vec<i32> = (0..24).collect();
        let view = View::new("x", &data, [2, 3, 4]).unwrap();
        assert_eq!(view.row(&[1, 2]), &[20, 21, 22, 23]);
        assert_eq!(view.at([1, 0, 3]), 15);
    }

    #[test]
    fn wrong_lengths_and_shapes_name_the_argument() {
        let short = View::new("dy", &[0.0f32; 5], [2, 3]).unwrap_err();
        assert_eq!(short.about(), "dy");
        assert_eq!(
            short.to_string(),
            "`dy` has 5 elements, but its shape [2, 3] needs 6"
        );
        let huge = View::new("q", &[0.0f32; 5], [usize::MAX, 3]).unwrap_err();
        assert_eq!(
            huge,
            Error::TooLarge {
                argument: "q",
                shape: vec![usize::MAX, 3]
            }
        );
        let other = View::new("x", &[0.0f32; 6], [2, 3]).unwrap();
        let error = other.expect_shape([3, 2], "as `y`").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`x` has shape [2, 3], expected [3, 2] (as `y`)"
        );
    }

    #[test]
    fn an_empty_tensor_may_have_any_other_sizes() {
        assert!(View::new("x", &[0.0f32; 0], [usize::MAX, 0, 7]).is_ok());
    }
}
