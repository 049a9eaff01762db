// C = A·B with the wmma interface: one warp per 16×16 tile, f16 in, f32 out; and the same
// product of signed bytes into s32.
#include <mma.h>
using namespace nvcuda;

extern "C" __global__ void matmul_f16(const half* a, const half* b, float* c, int n, int k) {
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> acc;
    wmma::fill_fragment(acc, 0.0f);
    int row = blockIdx.y * 16, col = blockIdx.x * 16;
    for (int t = 0; t < k; t += 16) {
        wmma::load_matrix_sync(fa, a + row * k + t, k);
        wmma::load_matrix_sync(fb, b + col * k + t, k);
        wmma::mma_sync(acc, fa, fb, acc);
    }
    for (int i = 0; i < acc.num_elements; i++) acc.x[i] *= 0.5f;
    wmma::store_matrix_sync(c + row * n + col, acc, n, wmma::mem_row_major);
}

extern "C" __global__ void matmul_s8(const signed char* a, const signed char* b, int* c, int n, int k) {
    __shared__ signed char ta[16 * 32];
    wmma::fragment<wmma::matrix_a, 16, 16, 16, signed char, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, signed char, wmma::row_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, int> acc;
    wmma::fill_fragment(acc, 0);
    int row = blockIdx.y * 16, col = blockIdx.x * 16;
    for (int t = 0; t < k; t += 16) {
        for (int i = threadIdx.x; i < 256; i += 32) ta[i / 16 * 32 + i % 16] = a[(row + i / 16) * k + t + i % 16];
        __syncwarp();
        wmma::load_matrix_sync(fa, ta, 32);
        wmma::load_matrix_sync(fb, b + t * n + col, n);
        wmma::mma_sync(acc, fa, fb, acc);
        __syncwarp();
    }
    wmma::store_matrix_sync(c + row * n + col, acc, n, wmma::mem_row_major);
}
