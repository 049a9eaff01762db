// Softmax of each row and its K most probable entries: one block a row.
//
//     each thread:    m, l = the maximum and the sum of exponentials of every 128th logit
//     the block:      its threads' m and l, merged
//     for each rank:  the greatest logit behind the one chosen last, lower index first
//
// The row is read K + 1 times; a faster kernel keeps candidates in registers.
//
//     nvcc -ptx -arch=compute_80 softmax_topk.cu
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math_constants.h>

constexpr int THREADS = 128;
constexpr unsigned ALL = 0xffffffff;

__device__ float number(float x) { return x; }
__device__ float number(__half x) { return __half2float(x); }
__device__ float number(__nv_bfloat16 x) { return __bfloat162float(x); }

// A maximum and a sum in units of its exponential.
struct Weight {
    float top, total;
};

__device__ Weight merge(Weight a, Weight b) {
    float top = fmaxf(a.top, b.top);
    // All -inf: there is nothing to rescale, and -inf - -inf is no number.
    if (top == -CUDART_INF_F) return {top, 0.0f};
    return {top, a.total * expf(a.top - top) + b.total * expf(b.top - top)};
}

struct Best {
    float logit;
    int at;
};

__device__ bool before(Best a, Best b) { return a.logit > b.logit || (a.logit == b.logit && a.at < b.at); }

// What `combine` makes of all threads' values, for all threads. Each warp first, then the warps.
template <typename T, typename Combine> __device__ T block(T mine, T *shared, Combine combine) {
    for (int step = 16; step > 0; step /= 2) {
        T other;
        int *to = reinterpret_cast<int *>(&other), *from = reinterpret_cast<int *>(&mine);
        for (unsigned i = 0; i < sizeof(T) / sizeof(int); i++) to[i] = __shfl_xor_sync(ALL, from[i], step);
        mine = combine(mine, other);
    }
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
    __syncthreads();
    T all = shared[0];
    for (int warp = 1; warp < THREADS / 32; warp++) all = combine(all, shared[warp]);
    __syncthreads();
    return all;
}

template <typename T>
__device__ void row(const T *logits, const unsigned char *mask, const int *row_k, float *prob, int *index, float *lse,
                    int width, int k, float temperature) {
    __shared__ Weight weights[THREADS / 32];
    __shared__ Best bests[THREADS / 32];
    const long r = blockIdx.x;
    const int own = row_k ? row_k[r] : k;
    auto logit = [&](int i) {
        bool hidden = mask && mask[r * width + i];
        return hidden ? -CUDART_INF_F : number(logits[r * width + i]);
    };

    Weight mine = {-CUDART_INF_F, 0.0f};
    bool strange = false;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        float x = logit(i);
        strange |= isnan(x) || x == CUDART_INF_F;
        if (!strange) mine = merge(mine, {__fdiv_rn(x, temperature), 1.0f});
    }
    bool odd = __syncthreads_or(strange);
    Weight weight = block(mine, weights, merge);
    bool empty = weight.top == -CUDART_INF_F;
    if (threadIdx.x == 0) {
        float value = empty ? -CUDART_INF_F : weight.top + logf(weight.total);
        lse[r] = odd ? CUDART_NAN_F : value;
    }

    Best last = {CUDART_INF_F, -1};
    for (int rank = 0; rank < k; rank++) {
        Best best = {-CUDART_INF_F, INT_MAX};
        for (int i = threadIdx.x; i < width && !odd; i += THREADS) {
            Best here = {logit(i), i};
            if (before(last, here) && before(here, best)) best = here;
        }
        last = block(best, bests, [](Best a, Best b) { return before(a, b) ? a : b; });
        if (threadIdx.x == 0) {
            float p = empty ? 0.0f : __fdiv_rn(expf(__fdiv_rn(last.logit, temperature) - weight.top), weight.total);
            bool kept = rank < own;
            prob[r * k + rank] = !kept ? 0.0f : odd ? CUDART_NAN_F : p;
            index[r * k + rank] = kept && !odd ? last.at : -1;
        }
    }
}

#define KERNEL(name, type)                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                              \
        name(const type *logits, const unsigned char *mask, const int *row_k, float *prob, int *index, float *lse,     \
             int width, int k, float temperature) {                                                                    \
        row(logits, mask, row_k, prob, index, lse, width, k, temperature);                                             \
    }
KERNEL(softmax_topk_f32, float)
KERNEL(softmax_topk_f16, __half)
KERNEL(softmax_topk_bf16, __nv_bfloat16)
