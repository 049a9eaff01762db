// Tensor copies of tiles, one to five dimensions: what arrives in shared memory is written out
// byte for byte, so that swizzle, edges and element strides can be compared.
#include <cuda/barrier>
#include <cuda/ptx>
namespace ptx = cuda::ptx;

struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

extern __shared__ __align__(1024) unsigned char tile[];

template <int RANK>
__device__ void load(const TensorMap& map, const int* at, unsigned bytes, unsigned char* out) {
    __shared__ cuda::std::uint64_t bar;
    if (threadIdx.x == 0) {
        ptx::mbarrier_init(&bar, 1);
        ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
        ptx::fence_proxy_async(ptx::space_shared);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int c[RANK];
        for (int i = 0; i < RANK; i++) c[i] = at[i];
        ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &bar, bytes);
        ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, tile, &map, c, &bar);
    }
    while (!ptx::mbarrier_try_wait_parity(&bar, 0)) {}
    for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = tile[i];
}

#define LOAD(RANK)                                                                                 \
    extern "C" __global__ void load_##RANK##d(const __grid_constant__ TensorMap map, const int* at, \
                                              unsigned bytes, unsigned char* out) {                \
        load<RANK>(map, at, bytes, out);                                                           \
    }
LOAD(1)
LOAD(2)
LOAD(3)
LOAD(4)
LOAD(5)

// A tile out of shared memory, where byte i holds 7i + 3, or the element i for sums.
extern "C" __global__ void store_2d(const __grid_constant__ TensorMap map, const int* at, unsigned bytes) {
    for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) tile[i] = 7 * i + 3;
    ptx::fence_proxy_async(ptx::space_shared);
    __syncthreads();
    if (threadIdx.x == 0) {
        int c[2] = {at[0], at[1]};
        ptx::cp_async_bulk_tensor(ptx::space_global, ptx::space_shared, &map, c, tile);
        ptx::cp_async_bulk_commit_group();
        ptx::cp_async_bulk_wait_group(ptx::n32_t<0>());
    }
}

extern "C" __global__ void add_2d(const __grid_constant__ TensorMap map, const int* at, unsigned count) {
    float* sums = reinterpret_cast<float*>(tile);
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) sums[i] = i;
    ptx::fence_proxy_async(ptx::space_shared);
    __syncthreads();
    if (threadIdx.x == 0) {
        int c[2] = {at[2 * blockIdx.x], at[2 * blockIdx.x + 1]};
        ptx::cp_reduce_async_bulk_tensor(ptx::space_global, ptx::space_shared, ptx::op_add, &map, c, sums);
        ptx::cp_async_bulk_commit_group();
        ptx::cp_async_bulk_wait_group_read(ptx::n32_t<0>());
    }
}
