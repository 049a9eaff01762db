//! Matrices that are used again. A tile needs a dozen of a megabyte each; asking the system for
//! fresh pages every time costs as much as the products do.

use std::cell::RefCell;

use ndarray::Array2;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f64>>> = const { RefCell::new(Vec::new()) };
}

/// A thread keeps no more numbers than this, 64 MiB.
const KEPT: usize = 8 << 20;

/// A matrix of whatever numbers were there before, to be overwritten.
pub(crate) fn any(rows: usize, columns: usize) -> Array2<f64> {
    let n = rows * columns;
    // Growing costs zeros, shrinking costs them later: the nearest in length.
    let mut numbers = SPARE.with_borrow_mut(|spare| {
        let lengths = spare.iter().map(Vec::len).enumerate();
        let nearest = lengths.min_by_key(|&(_, length)| length.abs_diff(n));
        nearest.map_or_else(Vec::new, |(at, _)| spare.swap_remove(at))
    });
    numbers.resize(n, 0.0);
    Array2::from_shape_vec((rows, columns), numbers)
        .unwrap_or_else(|_| Array2::zeros((rows, columns)))
}

/// Keeps a matrix's memory for [`any`] on this thread.
pub(crate) fn keep(matrix: Array2<f64>) {
    let (numbers, _) = matrix.into_raw_vec_and_offset();
    SPARE.with_borrow_mut(|spare| {
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if kept + numbers.capacity() <= KEPT {
            spare.push(numbers);
        }
    });
}
