// sm_90: a cluster of four blocks shares its histograms through distributed shared memory.
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

extern "C" __global__ void __cluster_dims__(4, 1, 1) cluster_histogram(const unsigned* in, int n, unsigned* bins) {
    __shared__ unsigned local[16];
    cg::cluster_group cluster = cg::this_cluster();
    if (threadIdx.x < 16) local[threadIdx.x] = 0;
    cluster.sync();
    // 64 bins over four blocks: bin b lives in block b / 16.
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        unsigned bin = in[i] & 63;
        atomicAdd(cluster.map_shared_rank(&local[bin & 15], bin / 16), 1u);
    }
    cluster.sync();
    if (threadIdx.x < 16) atomicAdd(&bins[cluster.block_rank() * 16 + threadIdx.x], local[threadIdx.x]);
}
