// f16 and bf16 pairs: axpy with fused multiply-add, comparisons, minima, conversions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void half_precision(const __half2* x, const __half2* y, __half2* axpy, __half2* lowest, float* dots,
                                          const __nv_bfloat162* u, const __nv_bfloat162* w, __nv_bfloat162* mixed, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    __half2 scale = __floats2half2_rn(1.5f, -0.25f);
    axpy[i] = __hfma2(scale, x[i], y[i]);
    lowest[i] = __hmin2(x[i], __hneg2(y[i]));
    float2 a = __half22float2(x[i]), b = __half22float2(y[i]);
    dots[i] = fmaf(a.x, b.x, a.y * b.y);
    __nv_bfloat162 product = __hmul2(u[i], w[i]);
    mixed[i] = __hgt2(u[i], w[i]).x == __float2bfloat16(1.0f) ? __hfma2(u[i], w[i], product) : __hmax2(product, w[i]);
}
