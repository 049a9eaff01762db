// cuda::memcpy_async on a cuda::barrier: an mbarrier on sm_80 and later.
#include <cooperative_groups.h>
#include <cuda/barrier>

extern "C" __global__ void copy_and_turn(const int4* in, int4* out, int tiles) {
    __shared__ int4 tile[128];
    __shared__ cuda::barrier<cuda::thread_scope_block> bar;
    auto block = cooperative_groups::this_thread_block();
    if (threadIdx.x == 0) init(&bar, blockDim.x);
    __syncthreads();
    for (int t = 0; t < tiles; t++) {
        cuda::memcpy_async(&tile[threadIdx.x], in + (blockIdx.x * tiles + t) * 128 + threadIdx.x,
                           cuda::aligned_size_t<16>(16), bar);
        bar.arrive_and_wait();
        int4 v = tile[127 - threadIdx.x];
        v.x += t;
        bar.arrive_and_wait();
        out[(blockIdx.x * tiles + t) * 128 + threadIdx.x] = v;
    }
}
