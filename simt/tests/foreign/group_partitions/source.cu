// Cooperative groups: partitions by label and by predicate, tiles of several warps, scans; and
// halves compared to masks, pair by pair.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda_fp16.h>
namespace cg = cooperative_groups;

extern "C" __global__ void partitions(const int* values, int* labelled, int* scanned, int* wide, int* ranked) {
    auto block = cg::this_thread_block();
    auto warp = cg::tiled_partition<32>(block);
    int i = block.thread_rank();
    int v = values[i];
    auto same = cg::labeled_partition(warp, v % 5);
    labelled[i] = cg::reduce(same, v, cg::plus<int>()) * 32 + same.num_threads();
    auto odd = cg::binary_partition(warp, v & 1);
    scanned[i] = cg::exclusive_scan(odd, v, cg::plus<int>());
    auto pair = cg::tiled_partition<64>(block);
    wide[i] = cg::reduce(pair, v, cg::greater<int>()) + pair.meta_group_rank() * 1000;
    // The scan writes where the reduction's results were read.
    pair.sync();
    ranked[i] = cg::inclusive_scan(pair, v);
}

extern "C" __global__ void masks(const __half2* a, const __half2* b, unsigned* masked, int* counts) {
    int i = threadIdx.x;
    masked[i] = (__hlt2_mask(a[i], b[i]) & 0x00f000f0) | (__hequ2_mask(a[i], b[i]) & 0x0f000f00) |
                (__hge2_mask(a[i], b[i]) & 0x000f000f);
    counts[i] = __hbgt2(a[i], b[i]) + 2 * __hbequ2(a[i], b[i]) + 4 * __hbneu2(a[i], b[i]);
}
