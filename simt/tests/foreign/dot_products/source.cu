// Integer intrinsics: dp4a, byte permutation, funnel shifts, bit counts, wide products.
extern "C" __global__ void dot_products(const int* a, const int* b, int n, int* dots, unsigned* bits,
                                        unsigned long long* wide) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    dots[i] = __dp4a(a[i], b[i], int(__dp4a((unsigned)a[i], (unsigned)b[i], 5u) & 0xffff));
    unsigned p = __byte_perm(a[i], b[i], 0x5163);
    bits[i] = __funnelshift_l(p, b[i], a[i] & 31) ^ __brev(p) ^ (__popc(a[i]) << 8) ^ (__clz(b[i]) << 16) ^ __ffs(a[i]) ^
              __vadd4(a[i], b[i]) ^ __vabsdiffs4(a[i], b[i]);
    wide[i] = (unsigned long long)a[i] * (unsigned long long)b[i] ^ __umul64hi((unsigned long long)a[i] << 20, 0x123456789abcdefull) ^
              (unsigned long long)__mulhi(a[i], b[i]) ^ (unsigned long long)((long long)a[i] / (b[i] | 1)) ^
              (unsigned long long)((unsigned)a[i] % ((unsigned)b[i] | 1u));
}
