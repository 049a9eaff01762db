// Atomics as libcu++, the runtime's headers and the compiler write them: scopes, orders, vectors,
// and compare-and-swap of 16, 64 and 128 bits.
#include <cuda/atomic>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <class T, cuda::thread_scope S>
using ref = cuda::atomic_ref<T, S>;
constexpr auto device = cuda::thread_scope_device;

// Every thread counts in each way; the results do not depend on who comes first.
extern "C" __global__ void counting(unsigned* counts, unsigned long long* wide, float4* vector, __half2* halves,
                                    __nv_bfloat162* rounded, double* sums) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    ref<unsigned, device>(counts[0]).fetch_add(1, cuda::memory_order_acq_rel);
    ref<unsigned, cuda::thread_scope_system>(counts[1]).fetch_max(i, cuda::memory_order_relaxed);
    ref<unsigned, device>(counts[2]).fetch_or(1u << (i % 32), cuda::memory_order_release);
    ref<unsigned, device>(counts[3]).fetch_xor(i, cuda::memory_order_seq_cst);
    ref<unsigned, device>(counts[4]).fetch_sub(2, cuda::memory_order_acquire);
    ref<unsigned long long, device>(wide[0]).fetch_add(i * 4000000000ull, cuda::memory_order_relaxed);
    ref<unsigned long long, device>(wide[1]).fetch_min(1000 - i, cuda::memory_order_relaxed);
    atomicMax_system(wide + 2, (unsigned long long)i << 40);
    atomicAdd(vector, make_float4(1, 2, 3, 4));
    atomicAdd(halves, __floats2half2_rn(1, -2));
    atomicAdd(rounded, __floats2bfloat162_rn(0.5f, 1));
    // Blocks have a place of their own for what is of their scope.
    atomicAdd_block(sums + blockIdx.x, 0.25);
    if (i % 2) __nanosleep(20);
}

// Additions by compare-and-swap, where the hardware has no other.
extern "C" __global__ void swapping(unsigned short* small, unsigned long long* largest, unsigned __int128* counter) {
    unsigned short seen = *(volatile unsigned short*)(small + 1), expected;
    do {
        expected = seen;
        seen = atomicCAS(small + 1, expected, (unsigned short)(expected + 3));
    } while (seen != expected);
    unsigned long long mine = (threadIdx.x * 37ull % 64) << 33;
    ref<unsigned long long, device> most(*largest);
    unsigned long long old = most.load(cuda::memory_order_acquire);
    while (old < mine && !most.compare_exchange_weak(old, mine, cuda::memory_order_acq_rel)) {
    }
    unsigned __int128 guess = 0, found;
    while ((found = atomicCAS(counter, guess, guess + (((unsigned __int128)1 << 64) | 3))) != guess) guess = found;
}
