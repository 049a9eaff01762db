// Inclusive scan of each block's 256 elements (shuffle scan in a warp, scan of the warp sums),
// and an exclusive Blelloch scan in shared memory of the same data.
extern "C" __global__ void scan(const unsigned* in, unsigned* inclusive, unsigned* exclusive, int n) {
    __shared__ unsigned sums[8];
    __shared__ unsigned tree[256];
    int tid = threadIdx.x, i = blockIdx.x * 256 + tid, lane = tid & 31, warp = tid >> 5;
    unsigned own = i < n ? in[i] : 0, v = own;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        unsigned below = __shfl_up_sync(0xffffffffu, v, d);
        if (lane >= d) v += below;
    }
    if (lane == 31) sums[warp] = v;
    __syncthreads();
    if (warp == 0) {
        unsigned s = lane < 8 ? sums[lane] : 0;
        for (int d = 1; d < 8; d *= 2) {
            unsigned below = __shfl_up_sync(0xffffffffu, s, d, 8);
            if ((lane & 7) >= d) s += below;
        }
        if (lane < 8) sums[lane] = s;
    }
    __syncthreads();
    if (warp > 0) v += sums[warp - 1];
    if (i < n) inclusive[i] = v;

    tree[tid] = own;
    int stride = 1;
    for (int d = 128; d > 0; d >>= 1, stride *= 2) {
        __syncthreads();
        if (tid < d) tree[stride * (2 * tid + 2) - 1] += tree[stride * (2 * tid + 1) - 1];
    }
    if (tid == 0) tree[255] = 0;
    for (int d = 1; d < 256; d *= 2) {
        stride >>= 1;
        __syncthreads();
        if (tid < d) {
            int a = stride * (2 * tid + 1) - 1, b = stride * (2 * tid + 2) - 1;
            unsigned t = tree[a];
            tree[a] = tree[b];
            tree[b] += t;
        }
    }
    __syncthreads();
    if (i < n) exclusive[i] = tree[tid];
}
