// The CUDA math library in f32 and f64: what nvcc inlines for it (slow paths with local
// memory, tables, subnormals) is the test.
extern "C" __global__ void math(const float* x, const double* xd, int n, float* out, double* outd) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    double d = xd[i];
    out[0 * n + i] = sinf(v);
    out[1 * n + i] = cosf(v * 1e6f);
    out[2 * n + i] = expf(v);
    out[3 * n + i] = logf(fabsf(v));
    out[4 * n + i] = powf(fabsf(v), 1.7f);
    out[5 * n + i] = tanhf(v);
    out[6 * n + i] = erff(v);
    out[7 * n + i] = cbrtf(v);
    out[8 * n + i] = v / 3.0f;
    out[9 * n + i] = sqrtf(fabsf(v));
    out[10 * n + i] = fmodf(v * 1000.0f, 7.5f);
    outd[0 * n + i] = sin(d);
    outd[1 * n + i] = exp(d);
    outd[2 * n + i] = log(fabs(d));
    outd[3 * n + i] = d / 3.0;
    outd[4 * n + i] = sqrt(fabs(d));
    outd[5 * n + i] = rsqrt(fabs(d));
}
