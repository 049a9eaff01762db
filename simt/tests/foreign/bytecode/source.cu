// A stack machine: each thread runs its own program through a switch, with recursion,
// calls that are not inlined, an indirect call and a stack in local memory.
__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
__device__ __noinline__ int gcd(int a, int b) {
    while (b) {
        int t = a % b;
        a = b;
        b = t;
    }
    return a;
}
__device__ __noinline__ int hypot2(int a, int b) { return a * a + b * b; }
typedef int (*binary)(int, int);
__device__ binary table[2] = {gcd, hypot2};

extern "C" __global__ void interpret(const int* code, int length, const int* input, int* output, int* steps) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int* program = code + (i % 4) * length;
    int stack[8], top = 0, pc = 0, n = 0;
    int x = input[i];
    while (n < 1000) {
        int op = program[pc++];
        n++;
        switch (op) {
            case 0: output[i] = top ? stack[top - 1] : -1; steps[i] = n; return;
            case 1: stack[top++] = x; break;
            case 2: stack[top++] = program[pc++]; break;
            case 3: top--; stack[top - 1] += stack[top]; break;
            case 4: top--; stack[top - 1] *= stack[top]; break;
            case 5: top--; stack[top - 1] -= stack[top]; break;
            case 6: stack[top - 1] = fibonacci(stack[top - 1] & 7); break;
            case 7: top--; stack[top - 1] = table[x & 1](stack[top - 1], stack[top]); break;
            case 8: stack[top] = stack[top - 1]; top++; break;
            case 9: { int to = program[pc++]; if (stack[--top] > 0) pc = to; break; }
            case 10: stack[top - 1] >>= 1; break;
            case 11: stack[top - 1] ^= stack[top - 2]; break;
            default: output[i] = -2; steps[i] = n; return;
        }
    }
    output[i] = -3;
    steps[i] = n;
}
