/* Gradients of LayerNorm and RMSNorm, in f32.
 *   cc -O2 -o layernorm_backward layernorm_backward.c
 */
#include "touchstone.h"

int main(void) {
    ts_call call;
    while (ts_next(&call)) {
        uint64_t rows = ts_size(&call, "R"), width = ts_size(&call, "D");
        const float *x = ts_input(&call, "x"), *dy = ts_input(&call, "dy"), *gamma = ts_input(&call, "gamma");
        const float *mean = ts_input(&call, "mean"), *rstd = ts_input(&call, "rstd");
        const float *residual = ts_input(&call, "residual");
        if (!ts_is(&call, "x", "f32")) {
            ts_unsupported(&call, "x in 16 bits");
            ts_free(&call);
            continue;
        }
        float *dx = ts_allocate(rows * width * 4);
        float *dgamma = ts_allocate(width * 4), *dbeta = ts_allocate(width * 4);
        /* Sums in double: a million rows in one chain of floats would lose their digits. */
        double *scale = ts_allocate(width * 8), *shift = ts_allocate(width * 8);
        for (uint64_t r = 0; r < rows; r++) {
            const float *xr = x + r * width, *dyr = dy + r * width;
            float m = mean ? mean[r] : 0;
            double sum = 0, along = 0;
            for (uint64_t d = 0; d < width; d++) {
                float normalised = (xr[d] - m) * rstd[r], g = gamma ? dyr[d] * gamma[d] : dyr[d];
                sum += g;
                along += (double)g * normalised;
                scale[d] += (double)dyr[d] * normalised;
                shift[d] += dyr[d];
            }
            float c1 = mean ? (float)(sum / (double)width) : 0, c2 = (float)(along / (double)width);
            for (uint64_t d = 0; d < width; d++) {
                float normalised = (xr[d] - m) * rstd[r], g = gamma ? dyr[d] * gamma[d] : dyr[d];
                dx[r * width + d] = rstd[r] * (g - c1 - normalised * c2) + (residual ? residual[r * width + d] : 0);
            }
        }
        for (uint64_t d = 0; d < width; d++) {
            dgamma[d] = (float)scale[d];
            dbeta[d] = (float)shift[d];
        }
        char matrix[64], vector[32];
        snprintf(matrix, sizeof matrix, "[%llu,%llu]", (unsigned long long)rows, (unsigned long long)width);
        snprintf(vector, sizeof vector, "[%llu]", (unsigned long long)width);
        ts_output outputs[] = {
            {"dx", "F32", matrix, dx, rows * width * 4},
            {"dgamma", "F32", vector, dgamma, width * 4},
            {"dbeta", "F32", vector, dbeta, width * 4},
        };
        ts_answer(&call, outputs, mean ? 3 : 2);
        free(dx);
        free(dgamma);
        free(dbeta);
        free(scale);
        free(shift);
        ts_free(&call);
    }
    return 0;
}
