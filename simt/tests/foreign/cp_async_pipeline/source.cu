// Sliding sums over rows fetched by a three-stage cp.async pipeline.
#include <cuda_pipeline.h>

constexpr int STAGES = 3, WIDTH = 128;

extern "C" __global__ void pipeline(const float4* rows, float4* out, int count) {
    __shared__ float4 stage[STAGES][WIDTH];
    int t = threadIdx.x;
    const float4* base = rows + blockIdx.x * count * WIDTH;
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < count) __pipeline_memcpy_async(&stage[s][t], base + s * WIDTH + t, 16);
        __pipeline_commit();
    }
    float4 acc = {0, 0, 0, 0};
    for (int r = 0; r < count; r++) {
        int next = r + STAGES - 1;
        if (next < count) __pipeline_memcpy_async(&stage[next % STAGES][t], base + next * WIDTH + t, 16);
        __pipeline_commit();
        __pipeline_wait_prior(STAGES - 1);
        __syncthreads();
        float4 v = stage[r % STAGES][(t + r) % WIDTH];
        acc.x += v.x;
        acc.y = fmaxf(acc.y, v.y);
        acc.z = fmaf(v.z, 0.5f, acc.z);
        acc.w = v.w;
        __syncthreads();
    }
    out[blockIdx.x * WIDTH + t] = acc;
}
