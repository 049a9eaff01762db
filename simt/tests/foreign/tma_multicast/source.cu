// A cluster of four blocks: each loads a quarter of every tile and multicasts it to those that
// a mask names, then waits for all the bytes it is to get.
#include <cooperative_groups.h>
#include <cuda/ptx>
namespace cg = cooperative_groups;
namespace ptx = cuda::ptx;

struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

extern "C" __global__ void __cluster_dims__(4, 1, 1)
spread(const __grid_constant__ TensorMap map, const unsigned short* masks, unsigned* out) {
    __shared__ __align__(1024) unsigned tile[4][8][32];
    __shared__ cuda::std::uint64_t bar;
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank();
    unsigned me = threadIdx.x;
    for (int q = 0; q < 4; q++)
        for (unsigned i = me; i < 256; i += blockDim.x) tile[q][i / 32][i % 32] = 0xdead;
    if (me == 0) {
        ptx::mbarrier_init(&bar, 1);
        ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
    }
    ptx::fence_proxy_async(ptx::space_shared);
    cluster.sync();
    if (me == 0) {
        unsigned bytes = 0;
        for (int q = 0; q < 4; q++) bytes += (masks[q] >> rank & 1) * 1024;
        ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &bar, bytes);
        int at[2] = {0, int(blockIdx.x / 4 * 32 + rank * 8)};
        ptx::cp_async_bulk_tensor(ptx::space_cluster, ptx::space_global, tile[rank], &map, at, &bar, masks[rank]);
    }
    while (!ptx::mbarrier_try_wait_parity(&bar, 0)) {}
    for (int q = 0; q < 4; q++)
        for (unsigned i = me; i < 256; i += blockDim.x)
            out[(blockIdx.x * 4 + q) * 256 + i] = tile[q][i / 32][i % 32];
    cluster.sync();
}
