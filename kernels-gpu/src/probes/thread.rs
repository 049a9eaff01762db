//! Probes of [`device::thread`](crate::device::thread).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::{shared::Shared, thread};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
crate::shared_tile!(
    /// A word a thread.
    fn probe_thread_words: [u32; 64]
);

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
fn words() -> Shared<u32> {
    probe_thread_words()
}

probes! {
    /// out[i] = the thread's indices, packed.
    probe_thread_idx, [], ["S2R"], |_a, out, i| {
        *out.add(i) =
            thread::thread_idx_x() | thread::thread_idx_y() << 8 | thread::thread_idx_z() << 16;
    }

    /// out[i] = the block's size, packed.
    probe_block_dim, [], [], |_a, out, i| {
        *out.add(i) = thread::block_dim_x() | thread::block_dim_y() << 8 | thread::block_dim_z() << 16;
    }

    /// out[i] = the block's indices, packed.
    probe_block_idx, [], ["S2"], |_a, out, i| {
        *out.add(i) = thread::block_idx_x() | thread::block_idx_y() << 8 | thread::block_idx_z() << 16;
    }

    /// out[i] = the grid's size, packed.
    probe_grid_dim, [], [], |_a, out, i| {
        *out.add(i) = thread::grid_dim_x() | thread::grid_dim_y() << 8 | thread::grid_dim_z() << 16;
    }

    /// out[i] = the index in the grid.
    probe_index_1d, [], [], |_a, out, i| {
        *out.add(i) = thread::index_1d();
    }

    /// Each thread reads what the thread in the other warp wrote.
    probe_sync_threads, [("bar.sync", 1)], ["BAR.SYNC", "LDS", "STS"], |a, out, i| {
        words().store(i as u32, *a.add(i));
        thread::sync_threads();
        *out.add(i) = words().load(i as u32 ^ 32);
    }

    /// Whether all inputs are odd.
    probe_sync_threads_and, [("bar.red", 1)], ["BAR.RED"], |a, out, i| {
        *out.add(i) = u32::from(thread::sync_threads_and(*a.add(i) & 1 != 0));
    }

    /// Whether any input is odd.
    probe_sync_threads_or, [("bar.red", 1)], ["BAR.RED"], |a, out, i| {
        *out.add(i) = u32::from(thread::sync_threads_or(*a.add(i) & 1 != 0));
    }

    /// How many inputs are odd.
    probe_sync_threads_count, [("bar.red", 1)], ["BAR.RED"], |a, out, i| {
        *out.add(i) = thread::sync_threads_count(*a.add(i) & 1 != 0);
    }

    /// As `probe_sync_threads`, at barrier 1.
    probe_sync_named, [("bar.sync", 1)], ["BAR.SYNC"], |a, out, i| {
        words().store(i as u32, *a.add(i));
        thread::sync_named(1, super::THREADS);
        *out.add(i) = words().load(i as u32 ^ 32);
    }

    /// The first warp writes and arrives, the second waits and reads.
    probe_arrive_named, [("bar.sync", 1), ("bar.arrive", 1)], ["BAR.ARV", "BAR.SYNC"], |a, out, i| {
        if i < 32 {
            words().store(i as u32, *a.add(i));
            thread::arrive_named(2, super::THREADS);
            *out.add(i) = 0;
        } else {
            thread::sync_named(2, super::THREADS);
            *out.add(i) = words().load(i as u32 - 32);
        }
    }

    /// A barrier between two branches on the same condition, the shape in which compilers are
    /// tempted to copy it into both arms.
    probe_barrier_between_branches, [("bar.sync", 1)], ["BAR.SYNC"], |a, out, i| {
        let small = match *a.add(i) {
            value if value < 100 => {
                words().store(i as u32, value);
                Some(value)
            }
            _ => None,
        };
        thread::sync_threads();
        match small {
            Some(value) => *out.add(i) = words().load(i as u32) + value,
            None => *out.add(i) = 7,
        }
    }

    /// The three fences, each between two writes.
    probe_fences, [], ["MEMBAR.SC.GPU", "MEMBAR.SC.SYS"], |a, out, i| {
        *out.add(i) = *a.add(i);
        thread::block_fence();
        *out.add(i + 64) = *a.add(i + 64);
        thread::device_fence();
        *out.add(i + 128) = *a.add(i + 128);
        thread::system_fence();
        *out.add(i + 192) = *a.add(i + 192);
    }
}
