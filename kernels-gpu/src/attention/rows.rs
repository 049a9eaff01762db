//! Where the rows of a sequence lie.

/// The rows of one sequence. The row number times D is the offset of a vector; it also indexes what
/// has one number a row.
#[derive(Clone, Copy)]
pub struct Rows {
    first: usize,
    head_stride: u32,
    position_stride: u32,
    /// Positions in the sequence.
    pub length: u32,
}

impl Rows {
    /// `[B, H, N, D]` where `starts` is null: `length` is N. Else `[T, H, D]`, sequence s at the
    /// positions `starts[s]..starts[s+1]`.
    ///
    /// # Safety
    /// `starts` is null or has numbers at `sequence` and `sequence + 1` that do not fall.
    #[inline(always)]
    pub unsafe fn of(starts: *const i32, sequence: u32, heads: u32, length: u32) -> Rows {
        if starts.is_null() {
            return Rows {
                first: sequence as usize * heads as usize * length as usize,
                head_stride: length,
                position_stride: 1,
                length,
            };
        }
        // SAFETY: the caller's promise.
        let (start, end) = unsafe {
            (
                *starts.add(sequence as usize) as u32,
                *starts.add(sequence as usize + 1) as u32,
            )
        };
        Rows {
            first: start as usize * heads as usize,
            head_stride: 1,
            position_stride: heads,
            length: end - start,
        }
    }

    /// The number of a head's row at a position.
    #[inline(always)]
    pub fn at(self, head: u32, position: u32) -> usize {
        self.first
            + head as usize * self.head_stride as usize
            + position as usize * self.position_stride as usize
    }
}
