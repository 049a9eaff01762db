// Cooperative groups inside a block: tiles, reductions, partitions by label, coalesced groups.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
namespace cg = cooperative_groups;

extern "C" __global__ void groups(const int* in, int* tile_sum, int* tile_max, int* scanned, int* by_label,
                                  int* coalesced, int* shuffled) {
    cg::thread_block block = cg::this_thread_block();
    int i = blockIdx.x * blockDim.x + block.thread_rank();
    int v = in[i];
    auto eight = cg::tiled_partition<8>(block);
    tile_sum[i] = cg::reduce(eight, v, cg::plus<int>());
    auto warp = cg::tiled_partition<32>(block);
    tile_max[i] = cg::reduce(warp, v, cg::greater<int>());
    scanned[i] = cg::inclusive_scan(eight, v, cg::plus<int>());
    auto same = cg::labeled_partition(warp, v & 3);
    by_label[i] = cg::reduce(same, v, cg::bit_xor<int>());
    coalesced[i] = -1;
    if (v % 3 == 0) {
        cg::coalesced_group now = cg::coalesced_threads();
        coalesced[i] = now.shfl(v, 0) * 100 + now.size() + now.thread_rank();
    }
    block.sync();
    auto four = cg::tiled_partition<4>(eight);
    shuffled[i] = four.shfl_xor(v, 1) + 1000 * four.meta_group_rank() + (four.any(v > 90) ? 1 : 0);
}
