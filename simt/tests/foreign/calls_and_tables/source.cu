// Functions: recursion, a table of function pointers in device memory, arrays indexed at run time,
// a jump table, templates in float and double.
typedef int (*operation)(int, int);
__device__ __noinline__ int plus(int a, int b) { return a + b; }
__device__ __noinline__ int times(int a, int b) { return a * b; }
__device__ __noinline__ int toggled(int a, int b) { return a ^ b; }
// Of the same type, but no pointer to it exists: it ends the thread.
__device__ __noinline__ int never(int a, int b) { asm volatile("trap;"); return a - b; }
__device__ operation table[3] = {plus, times, toggled};

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ __noinline__ int ackermann(int m, int n) {
    if (m == 0) return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

template <class T>
__device__ T horner(T x) {
    T sum = 0;
    for (int k = 6; k > 0; --k) sum = sum * x + T(k);
    return sum;
}

extern "C" __global__ void calls(const int* values, int* results, double* wide, float* narrow) {
    int i = threadIdx.x, v = values[i];
    int local[16];
    for (int k = 0; k < 16; ++k) local[k] = v * k;
    for (int k = 0; k < 16; ++k) local[(v + k) & 15] += local[(i + 7 * k) & 15];
    int r = fibonacci(v & 7) + ackermann(v & 1, i & 3) + table[v % 3](v, i) + local[(v >> 2) & 15];
    if (v > 1000000) r = never(v, r);
    for (int k = 0; k < 4; ++k) {
        switch ((v >> k) & 7) {
            case 0: r += 3; break;
            case 1: r *= 5; break;
            case 2: r ^= v; break;
            case 3: r -= k; break;
            case 4: r = __brev(r); break;
            case 5: r = __popc(r) + v; break;
            case 6: r = __clz(r | 1); break;
            default: r = ~r;
        }
    }
    results[i] = r;
    wide[i] = horner(v / 8.0);
    narrow[i] = horner(v / 16.0f);
}
