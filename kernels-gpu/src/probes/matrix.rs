//! Probes of [`device::matrix`](crate::device::matrix).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::{matrix, thread::sync_threads};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
crate::shared_tile!(
    /// Four 8×8 matrices of 16-bit values a warp.
    fn probe_matrices: [u32; 256]
);

/// Registers `0..N` of a lane's fragment: word `i + 64·(first + r)`.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn fragment<const N: usize>(a: *const u32, i: usize, first: usize) -> [u32; N] {
    // SAFETY: the caller's promise.
    core::array::from_fn(|r| unsafe { *a.add(i + 64 * (first + r)) })
}

/// Fills the tile with the first 256 words, and gives a lane the address of the row it names.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn row_address(a: *const u32, i: usize) -> u32 {
    let tile = probe_matrices();
    for j in 0..4 {
        // SAFETY: 256 words, each written by one thread.
        unsafe { tile.store((i + 64 * j) as u32, *a.add(i + 64 * j)) };
    }
    sync_threads();
    tile.address(4 * i as u32)
}

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn put<const N: usize>(out: *mut u32, i: usize, words: [u32; N]) {
    for (r, word) in words.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { *out.add(i + 64 * r) = word };
    }
}

probes! {
    /// A product of bf16 tiles: A in registers 0–3, B in 4–5, C zero.
    probe_mma_bf16, [("mma.sync", 1)], ["HMMA.16816.F32.BF16"], |a, out, i| {
        let sums = matrix::mma_bf16(fragment(a, i, 0), fragment(a, i, 4), [0.0; 4]);
        put(out, i, sums.map(f32::to_bits));
    }

    /// A product of f16 tiles, added to its double.
    probe_mma_f16, [("mma.sync", 2)], ["HMMA.16816.F32"], |a, out, i| {
        let (left, right) = (fragment(a, i, 0), fragment(a, i, 4));
        let sums = matrix::mma_f16(left, right, [0.0; 4]);
        put(out, i, matrix::mma_f16(left, right, sums.map(|x| x + x)).map(f32::to_bits));
    }

    /// A product of byte tiles.
    probe_mma_s8, [("mma.sync", 1)], ["IMMA.16832.S8.S8"], |a, out, i| {
        let sums = matrix::mma_s8(fragment(a, i, 0), fragment(a, i, 4), [1, -2, 3, -4]);
        put(out, i, sums.map(|x| x as u32));
    }

    /// One matrix: lanes 0–7 name rows.
    probe_ldmatrix_x1, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.M88"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x1(row_address(a, i)));
    }

    /// Two matrices.
    probe_ldmatrix_x2, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.M88.2"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x2(row_address(a, i)));
    }

    /// Four matrices.
    probe_ldmatrix_x4, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.M88.4"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x4(row_address(a, i)));
    }

    /// One matrix, transposed.
    probe_ldmatrix_x1_transposed, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.MT88"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x1_transposed(row_address(a, i)));
    }

    /// Two matrices, transposed.
    probe_ldmatrix_x2_transposed, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.MT88.2"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x2_transposed(row_address(a, i)));
    }

    /// Four matrices, transposed.
    probe_ldmatrix_x4_transposed, [("bar.sync", 1), ("ldmatrix", 1)], ["LDSM.16.MT88.4"], |a, out, i| {
        put(out, i, matrix::ldmatrix_x4_transposed(row_address(a, i)));
    }
}
