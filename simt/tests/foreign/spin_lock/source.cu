// Every thread enters a critical section once: lanes of one warp contend with each other.
__device__ void lock(int* mutex) {
    while (atomicCAS(mutex, 0, 1) != 0) {
    }
    __threadfence();
}

__device__ void unlock(int* mutex) {
    __threadfence();
    atomicExch(mutex, 0);
}

extern "C" __global__ void critical(int* mutex, volatile int* counter, volatile unsigned long long* sum) {
    lock(mutex);
    int ticket = *counter;
    *counter = ticket + 1;
    *sum = *sum + (unsigned long long)(blockIdx.x * blockDim.x + threadIdx.x) * 3;
    unlock(mutex);
}
