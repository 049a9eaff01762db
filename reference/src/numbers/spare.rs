//! Matrices that are used again. A tile needs a dozen of a megabyte each; asking the system for
//! fresh pages every time costs as much as the products do.

use ndarray::Array2;

use super::lane::Number;

/// A thread keeps no more of a kind than this, in bytes: 32 MiB.
const KEPT: usize = 32 << 20;

/// A matrix of whatever numbers were there before, to be overwritten.
pub(crate) fn any<N: Number>(rows: usize, columns: usize) -> Array2<N> {
    let n = rows * columns;
    // Growing costs zeros, shrinking costs them later: the nearest in length.
    let mut numbers = N::spare().with_borrow_mut(|spare| {
        let lengths = spare.iter().map(Vec::len).enumerate();
        let nearest = lengths.min_by_key(|&(_, length)| length.abs_diff(n));
        nearest.map_or_else(Vec::new, |(at, _)| spare.swap_remove(at))
    });
    numbers.resize(n, N::default());
    Array2::from_shape_vec((rows, columns), numbers)
        .unwrap_or_else(|_| Array2::from_elem((rows, columns), N::default()))
}

/// Keeps a matrix's memory for [`any`] on this thread.
pub(crate) fn keep<N: Number>(matrix: Array2<N>) {
    let (numbers, _) = matrix.into_raw_vec_and_offset();
    N::spare().with_borrow_mut(|spare| {
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if (kept + numbers.capacity()) * size_of::<N>() <= KEPT {
            spare.push(numbers);
        }
    });
}
