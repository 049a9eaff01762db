// Clusters: a ring in which each block passes its row on, three ways: stores to distributed
// shared memory between cluster barriers, asynchronous stores and bulk copies that complete at
// the receiver's mbarrier, and remote arrivals that hand a slot back.
#include <cooperative_groups.h>
#include <cuda/ptx>
namespace cg = cooperative_groups;
namespace ptx = cuda::ptx;

extern "C" __global__ void __cluster_dims__(2, 2, 1) stores(const int* in, int* out) {
    __shared__ int row[64];
    __shared__ int next[64];
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), size = cluster.num_blocks();
    unsigned block = blockIdx.y * gridDim.x + blockIdx.x;
    row[threadIdx.x] = in[block * 64 + threadIdx.x];
    cluster.sync();
    int* right = cluster.map_shared_rank(next, (rank + 1) % size);
    right[threadIdx.x] = row[63 - threadIdx.x] + int(rank);
    // Something between arrival and wait.
    auto token = cluster.barrier_arrive();
    int own = row[threadIdx.x];
    cluster.barrier_wait(std::move(token));
    dim3 at = cluster.block_index(), of = cluster.dim_blocks();
    out[block * 64 + threadIdx.x] = own * 1000 + next[threadIdx.x] + int(at.x + 10 * at.y + 100 * of.x * of.y)
        + 7 * int(cluster.query_shared_rank(right));
}

extern "C" __global__ void asynchronous(const int* in, int* out, int rounds) {
    __shared__ __align__(16) int slot[2][64];
    __shared__ cuda::std::uint64_t full[2], empty[2];
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), size = cluster.num_blocks(), me = threadIdx.x;
    unsigned right = (rank + 1) % size, left = (rank + size - 1) % size;
    if (me == 0) {
        for (int s = 0; s < 2; s++) {
            ptx::mbarrier_init(&full[s], 1);
            ptx::mbarrier_init(&empty[s], 64);
        }
        ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
    }
    cluster.sync();
    int value = in[blockIdx.x * 64 + me];
    int sum = 0;
    for (int r = 0; r < rounds; r++) {
        int s = r & 1;
        unsigned parity = r >> 1 & 1;
        // The right neighbour has emptied its slot: its threads arrived here.
        while (!ptx::mbarrier_try_wait_parity(ptx::sem_acquire, ptx::scope_cluster, &empty[s], parity ^ 1)) {}
        if (me == 0)
            ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &full[s], 256);
        ptx::st_async(cluster.map_shared_rank(&slot[s][me], right), value,
                      cluster.map_shared_rank(&full[s], right));
        while (!ptx::mbarrier_try_wait_parity(ptx::sem_acquire, ptx::scope_cluster, &full[s], parity)) {}
        value = slot[s][63 - me] + 1;
        sum += value;
        ptx::mbarrier_arrive(ptx::sem_release, ptx::scope_cluster, ptx::space_cluster,
                             cluster.map_shared_rank(&empty[s], left));
    }
    out[blockIdx.x * 64 + me] = sum;
    cluster.sync();
}

extern "C" __global__ void bulk(const int* in, int* out) {
    __shared__ __align__(16) int row[64];
    __shared__ __align__(16) int got[64];
    __shared__ cuda::std::uint64_t bar;
    cg::cluster_group cluster = cg::this_cluster();
    unsigned rank = cluster.block_rank(), size = cluster.num_blocks(), me = threadIdx.x;
    row[me] = in[blockIdx.x * 64 + me] ^ int(rank);
    if (me == 0) {
        ptx::mbarrier_init(&bar, 1);
        ptx::fence_mbarrier_init(ptx::sem_release, ptx::scope_cluster);
        ptx::mbarrier_arrive_expect_tx(ptx::sem_release, ptx::scope_cta, ptx::space_shared, &bar, 256);
    }
    ptx::fence_proxy_async(ptx::space_shared);
    cluster.sync();
    if (me == 0) {
        unsigned to = (rank + 2) % size;
        ptx::cp_async_bulk(ptx::space_cluster, ptx::space_shared, cluster.map_shared_rank(got, to), row, 256,
                           cluster.map_shared_rank(&bar, to));
    }
    while (!ptx::mbarrier_try_wait_parity(ptx::sem_acquire, ptx::scope_cluster, &bar, 0)) {}
    out[blockIdx.x * 64 + me] = got[me];
    cluster.sync();
}
