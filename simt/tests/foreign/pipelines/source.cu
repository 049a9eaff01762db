// libcu++: a pipeline shared by a block, warps with a task each that hand tiles over at barriers, and
// (sm_90) a bulk copy in and out.
#include <cooperative_groups.h>
#include <cooperative_groups/memcpy_async.h>
#include <cuda/barrier>
#include <cuda/pipeline>
#include <cuda/ptx>
namespace cg = cooperative_groups;
namespace ptx = cuda::ptx;
using barrier = cuda::barrier<cuda::thread_scope_block>;

// Thread t sums one element of each tile of 128; two tiles are on their way.
extern "C" __global__ void staged(const int* in, int* out, int tiles) {
    auto block = cg::this_thread_block();
    __shared__ int stage[2][128];
    __shared__ cuda::pipeline_shared_state<cuda::thread_scope_block, 2> state;
    auto pipeline = cuda::make_pipeline(block, &state);
    int sum = 0;
    for (int tile = 0, asked = 0; tile < tiles; ++tile) {
        for (; asked < tiles && asked < tile + 2; ++asked) {
            pipeline.producer_acquire();
            cuda::memcpy_async(block, stage[asked % 2], in + asked * 128, cuda::aligned_size_t<16>(512), pipeline);
            pipeline.producer_commit();
        }
        pipeline.consumer_wait();
        sum += stage[tile % 2][threadIdx.x * 7 % 128];
        pipeline.consumer_release();
    }
    out[threadIdx.x] = sum;
}

// Warp 0 loads tiles of 96, warps 1 and 2 sum them.
extern "C" __global__ void specialised(const int* in, int* out, int tiles) {
    __shared__ int stage[2][96];
    __shared__ barrier empty[2], full[2];
    if (threadIdx.x < 2) {
        init(&empty[threadIdx.x], 96);
        init(&full[threadIdx.x], 96);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        for (int tile = 0; tile < tiles; ++tile) {
            empty[tile % 2].arrive_and_wait();
            for (int k = threadIdx.x; k < 96; k += 32) stage[tile % 2][k] = in[tile * 96 + k];
            (void)full[tile % 2].arrive();
        }
        return;
    }
    (void)empty[0].arrive();
    (void)empty[1].arrive();
    int sum = 0;
    for (int tile = 0; tile < tiles; ++tile) {
        full[tile % 2].arrive_and_wait();
        sum += stage[tile % 2][threadIdx.x];
        (void)empty[tile % 2].arrive();
    }
    out[threadIdx.x - 32] = sum;
}

#if __CUDA_ARCH__ >= 900
extern "C" __global__ void bulk(const int* in, int* out) {
    __shared__ alignas(128) int tile[256];
#pragma nv_diag_suppress static_var_with_dynamic_init
    __shared__ barrier landed;
    if (threadIdx.x == 0) {
        init(&landed, blockDim.x);
        ptx::fence_proxy_async(ptx::space_shared);
    }
    __syncthreads();
    if (threadIdx.x == 0)
        cuda::memcpy_async(tile, in + 256 * blockIdx.x, cuda::aligned_size_t<16>(sizeof(tile)), landed);
    landed.arrive_and_wait();
    for (int k = threadIdx.x; k < 256; k += blockDim.x) tile[k] += k;
    ptx::fence_proxy_async(ptx::space_shared);
    __syncthreads();
    if (threadIdx.x == 0) {
        ptx::cp_async_bulk(ptx::space_global, ptx::space_shared, out + 256 * blockIdx.x, tile, sizeof(tile));
        ptx::cp_async_bulk_commit_group();
        ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
    }
}
#endif
