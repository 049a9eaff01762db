// The k-th largest key of each row, by four passes over 8-bit digits; then the count of
// keys above it and the position of the first one equal to it.
extern "C" __global__ void radix_select(const unsigned* keys, int n, int k, unsigned* kth, int* above, int* first) {
    __shared__ unsigned bins[256];
    __shared__ unsigned prefix, wanted;
    __shared__ int equal_at, larger;
    const unsigned* row = keys + blockIdx.x * n;
    if (threadIdx.x == 0) prefix = 0, wanted = k, equal_at = n, larger = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int b = threadIdx.x; b < 256; b += blockDim.x) bins[b] = 0;
        __syncthreads();
        unsigned high = shift == 24 ? 0 : ~0u << (shift + 8);
        for (int i = threadIdx.x; i < n; i += blockDim.x)
            if ((row[i] & high) == (prefix & high)) atomicAdd(&bins[row[i] >> shift & 255], 1u);
        __syncthreads();
        if (threadIdx.x == 0) {
            unsigned rest = wanted;
            int digit = 255;
            while (bins[digit] < rest) rest -= bins[digit--];
            prefix |= (unsigned)digit << shift;
            wanted = rest;
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        if (row[i] == prefix) atomicMin(&equal_at, i);
        unsigned ballot = __ballot_sync(__activemask(), row[i] > prefix);
        if ((threadIdx.x & 31) == __ffs(__activemask()) - 1) atomicAdd(&larger, __popc(ballot));
    }
    __syncthreads();
    if (threadIdx.x == 0) kth[blockIdx.x] = prefix, above[blockIdx.x] = larger, first[blockIdx.x] = equal_at;
}
