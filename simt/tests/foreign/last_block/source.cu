// A sum over the grid in one launch: the block that arrives last adds the partial sums.
__device__ unsigned arrived = 0;
__constant__ unsigned weights[4] = {1, 3, 5, 7};

extern "C" __global__ void last_block(const unsigned* in, int n, volatile unsigned long long* partial, unsigned long long* total) {
    __shared__ unsigned long long sums[4];
    __shared__ bool last;
    unsigned long long v = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        v += (unsigned long long)in[i] * weights[i & 3];
    for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(~0u, v, d);
    if ((threadIdx.x & 31) == 0) sums[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sums[0] + sums[1] + sums[2] + sums[3];
        __threadfence();
        last = atomicInc(&arrived, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        unsigned long long all = 0;
        for (int b = 0; b < gridDim.x; b++) all += partial[b];
        *total = all;
    }
}
