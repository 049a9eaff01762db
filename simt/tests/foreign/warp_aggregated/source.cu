// Filtering with one atomic per warp. Which place an element gets depends on the schedule;
// that the places are 0…count−1, each once, and that every element got one, does not.
extern "C" __global__ void filter(const int* in, int n, int* count, int* taken, int* placed) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = in[i];
    if (v > 0) {
        unsigned active = __activemask();
        int leader = __ffs(active) - 1, lane = threadIdx.x & 31, base = 0;
        if (lane == leader) base = atomicAdd(count, __popc(active));
        base = __shfl_sync(active, base, leader);
        int place = base + __popc(active & ((1u << lane) - 1));
        atomicAdd(&taken[place], 1);
        placed[i] = 1;
    } else {
        placed[i] = 0;
    }
}
