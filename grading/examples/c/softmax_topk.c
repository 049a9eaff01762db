/* Softmax of each row, and its K most probable entries.
 *   cc -O2 -o softmax_topk softmax_topk.c -lm
 */
#include "touchstone.h"

#include <math.h>

/* Keeps the K greatest so far in order; among equals the earlier index stays ahead. */
static void insert(float *best, int32_t *index, uint64_t k, float logit, int32_t at) {
    uint64_t place = k;
    while (place > 0 && (index[place - 1] < 0 || best[place - 1] < logit)) place--;
    if (place == k) return;
    for (uint64_t i = k - 1; i > place; i--) {
        best[i] = best[i - 1];
        index[i] = index[i - 1];
    }
    best[place] = logit;
    index[place] = at;
}

static void row(const float *logits, const uint8_t *mask, uint64_t width, uint64_t k, float temperature,
                float *prob, int32_t *index, float *lse) {
    float top = -INFINITY, *best = ts_allocate(k * sizeof *best);
    double total = 0;
    int odd = 0;
    for (uint64_t i = 0; i < k; i++) index[i] = -1;
    for (uint64_t i = 0; i < width; i++) {
        float logit = mask && mask[i] ? -INFINITY : logits[i];
        odd |= isnan(logit) || (isinf(logit) && logit > 0);
        insert(best, index, k, logit, (int32_t)i);
        /* The sum so far is in units of exp(top): it shrinks when the maximum grows. */
        float scaled = logit / temperature;
        if (scaled > top) {
            total = total * exp((double)top - scaled) + 1;
            top = scaled;
        } else if (top > -INFINITY) {
            total += exp((double)scaled - top);
        }
    }
    for (uint64_t i = 0; i < k; i++) {
        float p = top > -INFINITY ? (float)(exp((double)(best[i] / temperature) - top) / total) : 0;
        prob[i] = odd ? NAN : p;
        if (odd) index[i] = -1;
    }
    *lse = odd ? NAN : top > -INFINITY ? (float)(top + log(total)) : -INFINITY;
    free(best);
}

int main(void) {
    ts_call call;
    while (ts_next(&call)) {
        uint64_t rows = ts_size(&call, "R"), width = ts_size(&call, "V"), k = ts_size(&call, "K");
        float temperature = (float)ts_parameter(&call, "temperature", 1);
        const void *data = ts_input(&call, "logits");
        const char *dtype = ts_real(&call, "logits");
        const uint8_t *mask = ts_input(&call, "mask");
        const int32_t *row_k = ts_input(&call, "row_k");
        if (k > width) {
            ts_unsupported(&call, "K above V");
        } else {
            float *logits = ts_allocate(rows * width * sizeof *logits);
            for (uint64_t i = 0; i < rows * width; i++) logits[i] = ts_element(data, dtype, i);
            float *prob = ts_allocate(rows * k * sizeof *prob), *lse = ts_allocate(rows * sizeof *lse);
            int32_t *index = ts_allocate(rows * k * sizeof *index);
            for (uint64_t r = 0; r < rows; r++) {
                uint64_t own = row_k ? (uint64_t)row_k[r] : k;
                row(logits + r * width, mask ? mask + r * width : NULL, width, own, temperature, prob + r * k,
                    index + r * k, lse + r);
                for (uint64_t i = own; i < k; i++) index[r * k + i] = -1;
            }
            char matrix[64], vector[32];
            snprintf(matrix, sizeof matrix, "[%llu,%llu]", (unsigned long long)rows, (unsigned long long)k);
            snprintf(vector, sizeof vector, "[%llu]", (unsigned long long)rows);
            ts_output outputs[] = {
                {"prob", "F32", matrix, prob, rows * k * 4},
                {"index", "I32", matrix, index, rows * k * 4},
                {"lse", "F32", vector, lse, rows * 4},
            };
            ts_answer(&call, outputs, 3);
            free(logits);
            free(prob);
            free(index);
            free(lse);
        }
        ts_free(&call);
    }
    return 0;
}
