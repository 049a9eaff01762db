//! Probes of [`device::global`](crate::device::global), [`device::shared`](crate::device::shared)
//! and [`device::copy`](crate::device::copy).

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::{
    copy, global,
    half::{Bf16, F16},
    shared::{self, Shared, Swizzled},
    thread::sync_threads,
};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
crate::shared_tile!(
    /// A quad a thread.
    fn probe_memory_words: [u32; 256]
);

/// Writes `value` as `T` at `i`, and gives thread `i` what thread `i ^ 32` wrote.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn exchange<T: shared::Scalar>(i: usize, value: T) -> T {
    let tile: Shared<T> = probe_memory_words().cast();
    // SAFETY: 64 elements of at most 8 bytes in 1024; each thread writes its own.
    unsafe {
        tile.store(i as u32, value);
        sync_threads();
        tile.load(i as u32 ^ 32)
    }
}

probes! {
    /// Four words at 4i.
    probe_load4, [], ["LDG.E.128"], |a, out, i| {
        for (j, word) in global::load4(a.add(4 * i)).into_iter().enumerate() {
            *out.add(i + 64 * j) = word;
        }
    }

    /// Four words to 4i.
    probe_store4, [], ["STG.E.128"], |a, out, i| {
        global::store4(out.add(4 * i), [*a.add(i), *a.add(i + 64), *a.add(i + 128), *a.add(i + 192)]);
    }

    /// Four words at 4i, read-only.
    probe_load4_readonly, [], ["LDG.E.128.CONSTANT"], |a, out, i| {
        for (j, word) in global::load4_readonly(a.add(4 * i)).into_iter().enumerate() {
            *out.add(i + 64 * j) = word;
        }
    }

    /// Four words at 4i, read once.
    probe_load4_streaming, [], ["LDG.E"], |a, out, i| {
        for (j, word) in global::load4_streaming(a.add(4 * i)).into_iter().enumerate() {
            *out.add(i + 64 * j) = word;
        }
    }

    /// Four words at 4i where the first is odd, and what was there before elsewhere.
    probe_load4_streaming_if, [], ["LDG.E"], |a, out, i| {
        let odd = *a.add(4 * i) % 2 != 0;
        let mut words = [1, 2, 3, 4];
        global::load4_streaming_if(odd, a.add(4 * i), &mut words);
        for (j, word) in words.into_iter().enumerate() {
            *out.add(i + 64 * j) = word;
        }
    }

    /// Four words to 4i, written once.
    probe_store4_streaming, [], ["STG.E"], |a, out, i| {
        global::store4_streaming(
            out.add(4 * i),
            [*a.add(i), *a.add(i + 64), *a.add(i + 128), *a.add(i + 192)],
        );
    }

    /// A word, read-only.
    probe_load_readonly, [], ["LDG.E.CONSTANT"], |a, out, i| {
        *out.add(i) = global::load_readonly(a.add(i));
    }

    /// Bytes through shared memory.
    probe_shared_u8, [("bar.sync", 1)], ["LDS.U8", "STS.U8"], |a, out, i| {
        *out.add(i) = u32::from(exchange(i, *a.add(i) as u8));
    }

    /// 16-bit values through shared memory.
    probe_shared_u16, [("bar.sync", 1)], ["LDS.U16", "STS.U16"], |a, out, i| {
        *out.add(i) = u32::from(exchange(i, *a.add(i) as u16));
    }

    /// f16 through shared memory.
    probe_shared_f16, [("bar.sync", 1)], ["LDS.U16", "STS.U16"], |a, out, i| {
        *out.add(i) = u32::from(exchange(i, F16(*a.add(i) as u16)).0);
    }

    /// bf16 through shared memory.
    probe_shared_bf16, [("bar.sync", 1)], ["LDS.U16", "STS.U16"], |a, out, i| {
        *out.add(i) = u32::from(exchange(i, Bf16(*a.add(i) as u16)).0);
    }

    /// Words through shared memory.
    probe_shared_u32, [("bar.sync", 1)], ["LDS", "STS"], |a, out, i| {
        *out.add(i) = exchange(i, *a.add(i));
    }

    /// Signed words through shared memory.
    probe_shared_i32, [("bar.sync", 1)], ["LDS", "STS"], |a, out, i| {
        *out.add(i) = exchange(i, *a.add(i) as i32) as u32;
    }

    /// f32 through shared memory.
    probe_shared_f32, [("bar.sync", 1)], ["LDS", "STS"], |a, out, i| {
        *out.add(i) = exchange(i, f32::from_bits(*a.add(i))).to_bits();
    }

    /// 64-bit values through shared memory.
    probe_shared_u64, [("bar.sync", 1)], ["LDS.64", "STS.64"], |a, out, i| {
        let value = exchange(i, u64::from(*a.add(i)) << 32 | u64::from(*a.add(i + 64)));
        *out.add(i) = (value >> 32) as u32;
        *out.add(i + 64) = value as u32;
    }

    /// f64 through shared memory.
    probe_shared_f64, [("bar.sync", 1)], ["LDS.64", "STS.64"], |a, out, i| {
        let bits = u64::from(*a.add(i)) << 32 | u64::from(*a.add(i + 64));
        let value = exchange(i, f64::from_bits(bits)).to_bits();
        *out.add(i) = (value >> 32) as u32;
        *out.add(i + 64) = value as u32;
    }

    /// Quads through shared memory.
    probe_shared_quads, [("bar.sync", 1)], ["LDS.128", "STS.128"], |a, out, i| {
        let tile = probe_memory_words();
        let j = i as u32;
        tile.store4(4 * j, [*a.add(i), *a.add(i + 64), *a.add(i + 128), *a.add(i + 192)]);
        sync_threads();
        for (k, word) in tile.load4(4 * (j ^ 32)).into_iter().enumerate() {
            *out.add(i + 64 * k) = word;
        }
    }

    /// Words through dynamic shared memory, from byte 256 on.
    probe_shared_dynamic, [("bar.sync", 1)], ["LDS", "STS"], |a, out, i| {
        let tile: Shared<u32> = shared::dynamic(256);
        tile.store(i as u32, *a.add(i));
        sync_threads();
        *out.add(i) = tile.load(i as u32 ^ 32);
    }

    /// A swizzled 8×32 matrix written by rows, read by columns.
    probe_shared_swizzled, [("bar.sync", 1)], ["LDS", "STS"], |a, out, i| {
        let tile: Swizzled<u32, 32> = Swizzled::new(probe_memory_words());
        for j in 0..4 {
            let at = i as u32 + 64 * j;
            tile.store(at / 32, at % 32, *a.add(at as usize));
        }
        sync_threads();
        for j in 0..4 {
            let at = i as u32 + 64 * j;
            *out.add(at as usize) = tile.load(at % 8, at / 8);
        }
    }

    /// 4 bytes a thread, copied asynchronously.
    probe_copy_4, [("bar.sync", 1), ("cp.async.wait", 1)], ["LDGSTS"], |a, out, i| {
        let tile = probe_memory_words();
        copy::copy_4(tile.address(i as u32), a.add(i));
        copy::wait_all();
        sync_threads();
        *out.add(i) = tile.load(i as u32 ^ 32);
    }

    /// 8 bytes a thread, copied asynchronously.
    probe_copy_8, [("bar.sync", 1), ("cp.async.wait", 1)], ["LDGSTS.E.64"], |a, out, i| {
        let tile = probe_memory_words();
        copy::copy_8(tile.address(2 * i as u32), a.add(2 * i));
        copy::wait_all();
        sync_threads();
        *out.add(i) = tile.load(i as u32);
        *out.add(i + 64) = tile.load(i as u32 + 64);
    }

    /// 16 bytes a thread in two groups, read as each arrives.
    probe_copy_16, [("bar.sync", 2), ("cp.async.wait", 2), ("cp.async.commit", 2)],
        ["LDGSTS.E.BYPASS.128"], |a, out, i| {
        let tile = probe_memory_words();
        if i < 32 {
            copy::copy_16(tile.address(4 * i as u32), a.add(4 * i));
        }
        copy::commit();
        if i >= 32 {
            copy::copy_16(tile.address(4 * i as u32), a.add(4 * i));
        }
        copy::commit();
        copy::wait::<1>();
        sync_threads();
        *out.add(i) = tile.load(i as u32);
        *out.add(i + 64) = tile.load(i as u32 + 64);
        copy::wait::<0>();
        sync_threads();
        *out.add(i + 128) = tile.load(i as u32 + 128);
        *out.add(i + 192) = tile.load(i as u32 + 192);
    }

    /// The first 4·(i mod 5) of 16 bytes, zeros behind them.
    probe_copy_16_or_zero, [("bar.sync", 1), ("cp.async.wait", 1)], ["LDGSTS"], |a, out, i| {
        let tile = probe_memory_words();
        copy::copy_16_or_zero(tile.address(4 * i as u32), a.add(4 * i), 4 * (i as u32 % 5));
        copy::wait_all();
        sync_threads();
        for j in 0..4 {
            *out.add(i + 64 * j) = tile.load((i + 64 * j) as u32);
        }
    }
}
