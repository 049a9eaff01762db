// WMMA on bf16, tf32 and f64 fragments, from and to device memory.
#include <cuda/std/type_traits>
#include <mma.h>
using namespace nvcuda::wmma;

template <int M, int N, int K, typename T, typename S, typename LA, typename LB, typename D>
__device__ void product(const S* a, const S* b, const D* c, D* d) {
    fragment<matrix_a, M, N, K, T, LA> fa;
    fragment<matrix_b, M, N, K, T, LB> fb;
    fragment<accumulator, M, N, K, D> sum;
    load_matrix_sync(fa, a, cuda::std::is_same_v<LA, row_major> ? K : M);
    load_matrix_sync(fb, b, cuda::std::is_same_v<LB, row_major> ? N : K);
    load_matrix_sync(sum, c, N, mem_row_major);
    mma_sync(sum, fa, fb, sum);
    store_matrix_sync(d, sum, N, mem_row_major);
}

extern "C" __global__ void bf16_square(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
    product<16, 16, 16, __nv_bfloat16, __nv_bfloat16, row_major, col_major>(a, b, c, d);
}
extern "C" __global__ void bf16_wide(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
    product<8, 32, 16, __nv_bfloat16, __nv_bfloat16, col_major, row_major>(a, b, c, d);
}
extern "C" __global__ void bf16_tall(const __nv_bfloat16* a, const __nv_bfloat16* b, const float* c, float* d) {
    product<32, 8, 16, __nv_bfloat16, __nv_bfloat16, row_major, row_major>(a, b, c, d);
}
extern "C" __global__ void tf32(const float* a, const float* b, const float* c, float* d) {
    product<16, 16, 8, precision::tf32, float, row_major, col_major>(a, b, c, d);
}
extern "C" __global__ void f64(const double* a, const double* b, const double* c, double* d) {
    product<8, 8, 4, double, double, row_major, col_major>(a, b, c, d);
}
