//! Probes of [`device::atomic`](crate::device::atomic).
//!
//! Each thread applies the operation to one of eight places that start as the first words of `a`;
//! what was there before is thrown away, as it depends on who came first, so that the outcome
//! (eight words, or eight 64-bit pairs) does not.

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
use crate::device::{atomic, shared::Shared, thread::sync_threads};

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
crate::shared_tile!(
    /// Eight places of up to 8 bytes.
    fn probe_atomic_places: [u64; 8]
);

/// The 32-bit or 64-bit value with index `i`.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
trait Value: atomic::Atomic + crate::device::shared::Scalar {
    unsafe fn at(a: *const u32, i: usize) -> Self {
        // SAFETY: the caller's promise: WORDS words, i < 192.
        unsafe { *a.cast::<Self>().add(i) }
    }
}

#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
impl<T: atomic::Atomic + crate::device::shared::Scalar> Value for T {}

/// Runs `each` for all threads between two barriers, on places in `out` that start as `a`.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn on_global<T: Value>(a: *const u32, out: *mut u32, i: usize, each: impl Fn(*mut T, T)) {
    let places = out.cast::<T>();
    // SAFETY: eight places; each has one writer before the barrier and atomic ones after it.
    unsafe {
        if i < 8 {
            *places.add(i) = T::at(a, i);
        }
        sync_threads();
        each(places.add(i % 8), T::at(a, i + 8));
    }
}

/// As `on_global`, in shared memory, copied to `out` at the end.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
#[inline(always)]
unsafe fn on_shared<T: Value>(
    a: *const u32,
    out: *mut u32,
    i: usize,
    each: impl Fn(Shared<T>, u32, T),
) {
    let places: Shared<T> = probe_atomic_places().cast();
    // SAFETY: as above.
    unsafe {
        if i < 8 {
            places.store(i as u32, T::at(a, i));
        }
        sync_threads();
        each(places, i as u32 % 8, T::at(a, i + 8));
        sync_threads();
        if i < 8 {
            *out.cast::<T>().add(i) = places.load(i as u32);
        }
    }
}

/// Adds `value` by compare-and-swap until nobody came between.
#[cfg(all(target_arch = "nvptx64", feature = "probes"))]
macro_rules! add_by_cas {
    ($value:expr, |$old:ident, $new:ident| $swap:expr, $bits:expr, $add:expr) => {{
        let mut $old = $value;
        loop {
            let $new = $add($old);
            let seen = $swap;
            if $bits(seen) == $bits($old) {
                break;
            }
            $old = seen;
        }
    }};
}

macro_rules! atomic_probes {
    ($($t:ty, $bits:expr, $add:expr =>
        $add_g:ident $add_s:ident $max_g:ident $max_s:ident $min_g:ident $min_s:ident
        $exch_g:ident $exch_s:ident $cas_g:ident $cas_s:ident;)*) => {
        probes! {$(
            /// Sums.
            $add_g, [("bar.sync", 1)], [], |a, out, i| {
                on_global::<$t>(a, out, i, |to, value| { atomic::add(to, value); });
            }
            /// Sums, in shared memory.
            $add_s, [("bar.sync", 2)], ["ATOMS"], |a, out, i| {
                on_shared::<$t>(a, out, i, |to, k, value| { atomic::add_shared(to, k, value); });
            }
            /// Maxima.
            $max_g, [("bar.sync", 1)], [], |a, out, i| {
                on_global::<$t>(a, out, i, |to, value| { atomic::max(to, value); });
            }
            /// Maxima, in shared memory.
            $max_s, [("bar.sync", 2)], ["ATOMS"], |a, out, i| {
                on_shared::<$t>(a, out, i, |to, k, value| { atomic::max_shared(to, k, value); });
            }
            /// Minima.
            $min_g, [("bar.sync", 1)], [], |a, out, i| {
                on_global::<$t>(a, out, i, |to, value| { atomic::min(to, value); });
            }
            /// Minima, in shared memory.
            $min_s, [("bar.sync", 2)], ["ATOMS"], |a, out, i| {
                on_shared::<$t>(a, out, i, |to, k, value| { atomic::min_shared(to, k, value); });
            }
            /// Exchanges: the places end with one of the values; all threads of a place bring the same.
            $exch_g, [("bar.sync", 1)], ["ATOMG.E.EXCH"], |a, out, i| {
                on_global::<$t>(a, out, i, |to, _| {
                    let _ = atomic::exchange(to, <$t as Value>::at(a, 8 + i % 8));
                });
            }
            /// Exchanges, in shared memory.
            $exch_s, [("bar.sync", 2)], ["ATOMS.EXCH"], |a, out, i| {
                on_shared::<$t>(a, out, i, |to, k, _| {
                    let _ = atomic::exchange_shared(to, k, <$t as Value>::at(a, 8 + i % 8));
                });
            }
            /// Adds a small number by compare-and-swap.
            $cas_g, [("bar.sync", 1)], ["ATOMG.E.CAS"], |a, out, i| {
                on_global::<$t>(a, out, i, |to, _| add_by_cas!(
                    <$t as Value>::at(a, i % 8), |old, new| atomic::cas(to, old, new), $bits, $add));
            }
            /// Adds a small number by compare-and-swap, in shared memory.
            $cas_s, [("bar.sync", 2)], ["ATOMS.CAS"], |a, out, i| {
                on_shared::<$t>(a, out, i, |to, k, _| add_by_cas!(
                    <$t as Value>::at(a, i % 8), |old, new| atomic::cas_shared(to, k, old, new), $bits, $add));
            }
        )*}
    };
}

atomic_probes! {
    u32, |v: u32| v, |v: u32| v.wrapping_add(3) =>
        probe_atomic_add_u32 probe_atomic_add_shared_u32 probe_atomic_max_u32 probe_atomic_max_shared_u32
        probe_atomic_min_u32 probe_atomic_min_shared_u32 probe_atomic_exchange_u32
        probe_atomic_exchange_shared_u32 probe_atomic_cas_u32 probe_atomic_cas_shared_u32;
    i32, |v: i32| v, |v: i32| v.wrapping_add(3) =>
        probe_atomic_add_i32 probe_atomic_add_shared_i32 probe_atomic_max_i32 probe_atomic_max_shared_i32
        probe_atomic_min_i32 probe_atomic_min_shared_i32 probe_atomic_exchange_i32
        probe_atomic_exchange_shared_i32 probe_atomic_cas_i32 probe_atomic_cas_shared_i32;
    u64, |v: u64| v, |v: u64| v.wrapping_add(3) =>
        probe_atomic_add_u64 probe_atomic_add_shared_u64 probe_atomic_max_u64 probe_atomic_max_shared_u64
        probe_atomic_min_u64 probe_atomic_min_shared_u64 probe_atomic_exchange_u64
        probe_atomic_exchange_shared_u64 probe_atomic_cas_u64 probe_atomic_cas_shared_u64;
    f32, |v: f32| v.to_bits(), |v: f32| v + 1.0 =>
        probe_atomic_add_f32 probe_atomic_add_shared_f32 probe_atomic_max_f32 probe_atomic_max_shared_f32
        probe_atomic_min_f32 probe_atomic_min_shared_f32 probe_atomic_exchange_f32
        probe_atomic_exchange_shared_f32 probe_atomic_cas_f32 probe_atomic_cas_shared_f32;
}
