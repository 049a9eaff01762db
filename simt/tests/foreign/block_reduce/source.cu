// Sum, minimum and maximum over each block: shuffles within a warp, shared memory between warps.
template <typename T, typename Op>
__device__ T warp_reduce(T v, Op op) {
    for (int offset = 16; offset > 0; offset /= 2) v = op(v, __shfl_down_sync(0xffffffffu, v, offset));
    return v;
}

template <typename T, typename Op>
__device__ T block_reduce(T v, T identity, Op op) {
    __shared__ T partial[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    v = warp_reduce(v, op);
    if (lane == 0) partial[warp] = v;
    __syncthreads();
    v = threadIdx.x < blockDim.x / 32 ? partial[lane] : identity;
    if (warp == 0) v = warp_reduce(v, op);
    return v;
}

extern "C" __global__ void reduce(const int* ints, const float* floats, const double* doubles, int n,
                                  int* min_out, int* sum_out, float* fsum_out, double* dmax_out) {
    int lowest = 0x7fffffff, sum = 0;
    float fsum = 0.0f;
    double dmax = -1e300;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        lowest = min(lowest, ints[i]);
        sum += ints[i];
        fsum += floats[i];
        dmax = fmax(dmax, doubles[i]);
    }
    lowest = block_reduce(lowest, 0x7fffffff, [](int a, int b) { return min(a, b); });
    __syncthreads();
    sum = block_reduce(sum, 0, [](int a, int b) { return a + b; });
    __syncthreads();
    fsum = block_reduce(fsum, 0.0f, [](float a, float b) { return a + b; });
    __syncthreads();
    dmax = block_reduce(dmax, -1e300, [](double a, double b) { return fmax(a, b); });
    if (threadIdx.x == 0) {
        min_out[blockIdx.x] = lowest;
        sum_out[blockIdx.x] = sum;
        fsum_out[blockIdx.x] = fsum;
        dmax_out[blockIdx.x] = dmax;
    }
}
