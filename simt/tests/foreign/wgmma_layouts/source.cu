// One wgmma each on an image of shared memory that the host laid out: every layout and swizzle,
// transposed operands, eight-bit and tf32 elements, A in registers, negation, saturation.
// Sums start from a pattern and leave as each thread holds them.

__device__ unsigned prepare(const uint4* image, int pieces) {
    extern __shared__ __align__(1024) uint4 tile[];
    for (int i = threadIdx.x; i < pieces; i += blockDim.x) tile[i] = image[i];
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncthreads();
    return __cvta_generic_to_shared(tile);
}

#define SUMS(c) c(d[0]), c(d[1]), c(d[2]), c(d[3]), c(d[4]), c(d[5]), c(d[6]), c(d[7]), \
    c(d[8]), c(d[9]), c(d[10]), c(d[11]), c(d[12]), c(d[13]), c(d[14]), c(d[15])
#define HELD "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
#define BEGIN "{.reg .pred p; setp.ne.b32 p, %18, 0; wgmma.fence.sync.aligned; wgmma.mma_async.sync.aligned."
#define END " wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;}"

#define DESCRIBED(NAME, TYPE, FIRST, C, INSTRUCTION, FLAGS)                                            \
    extern "C" __global__ void NAME(const uint4* image, int pieces, unsigned long long a,              \
                                    unsigned long long b, TYPE* out, int keep) {                       \
        unsigned base = prepare(image, pieces) >> 4;                                                   \
        TYPE d[16];                                                                                    \
        for (int i = 0; i < 16; i++) d[i] = FIRST;                                                     \
        asm volatile(BEGIN INSTRUCTION " " HELD ", %16, %17, p" FLAGS ";" END                          \
                     : SUMS(C) : "l"(a + base), "l"(b + base), "r"(keep) : "memory");                  \
        for (int i = 0; i < 16; i++) out[threadIdx.x * 16 + i] = d[i];                                 \
    }

#define F "+f"
#define I "+r"
#define SMALL float(int(threadIdx.x * 16 + i) % 101 - 50)
DESCRIBED(f16_kk, float, SMALL, F, "m64n32k16.f32.f16.f16", ", 1, 1, 0, 0")
DESCRIBED(f16_mk, float, SMALL, F, "m64n32k16.f32.f16.f16", ", 1, 1, 1, 0")
DESCRIBED(f16_kn, float, SMALL, F, "m64n32k16.f32.f16.f16", ", 1, 1, 0, 1")
DESCRIBED(bf16_mn, float, SMALL, F, "m64n32k16.f32.bf16.bf16", ", 1, 1, 1, 1")
DESCRIBED(bf16_negated, float, SMALL, F, "m64n32k16.f32.bf16.bf16", ", -1, 1, 0, 0")
DESCRIBED(tf32, float, SMALL, F, "m64n32k8.f32.tf32.tf32", ", 1, -1")
DESCRIBED(e4m3_e5m2, float, SMALL, F, "m64n32k32.f32.e4m3.e5m2", ", 1, 1")
DESCRIBED(e5m2_e4m3, float, SMALL, F, "m64n32k32.f32.e5m2.e4m3", ", 1, 1")
DESCRIBED(s8_s8, int, int(threadIdx.x) * 1000 + i, I, "m64n32k32.s32.s8.s8", "")
DESCRIBED(u8_s8, int, int(threadIdx.x) * 1000 + i, I, "m64n32k32.s32.u8.s8", "")
DESCRIBED(s8_u8, int, int(threadIdx.x) * 1000 + i, I, "m64n32k32.s32.s8.u8", "")
DESCRIBED(u8_u8_saturated, int, 2147483000 + i, I, "m64n32k32.s32.u8.u8.satfinite", "")

// Sums in halves: the pairs of eight registers.
extern "C" __global__ void e4m3_half(const uint4* image, int pieces, unsigned long long a,
                                     unsigned long long b, unsigned* out, int keep) {
    unsigned base = prepare(image, pieces) >> 4;
    unsigned d[8];
    for (int i = 0; i < 8; i++) d[i] = 0x40003c00;  // 1 and 2
    asm volatile("{.reg .pred p; setp.ne.b32 p, %10, 0; wgmma.fence.sync.aligned; wgmma.mma_async.sync.aligned."
                 "m64n32k32.f16.e4m3.e4m3 {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p, 1, 1;" END
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7])
                 : "l"(a + base), "l"(b + base), "r"(keep) : "memory");
    for (int i = 0; i < 8; i++) out[threadIdx.x * 8 + i] = d[i];
}

// A in registers: each thread's four words are given.
#define REGISTERS(NAME, TYPE, FIRST, C, INSTRUCTION, FLAGS)                                            \
    extern "C" __global__ void NAME(const uint4* image, int pieces, const uint4* a,                    \
                                    unsigned long long b, TYPE* out, int keep) {                       \
        unsigned base = prepare(image, pieces) >> 4;                                                   \
        uint4 w = a[threadIdx.x];                                                                      \
        TYPE d[16];                                                                                    \
        for (int i = 0; i < 16; i++) d[i] = FIRST;                                                     \
        asm volatile(BEGIN INSTRUCTION " " HELD ", {%19,%20,%21,%22}, %17, p" FLAGS ";" END            \
                     : SUMS(C) : "l"(0ull), "l"(b + base), "r"(keep), "r"(w.x), "r"(w.y), "r"(w.z),    \
                       "r"(w.w) : "memory");                                                           \
        for (int i = 0; i < 16; i++) out[threadIdx.x * 16 + i] = d[i];                                 \
    }
REGISTERS(registers_f16, float, SMALL, F, "m64n32k16.f32.f16.f16", ", 1, 1, 1")
REGISTERS(registers_tf32, float, SMALL, F, "m64n32k8.f32.tf32.tf32", ", 1, 1")
REGISTERS(registers_s8, int, int(threadIdx.x) * 1000 + i, I, "m64n32k32.s32.s8.s8", "")
REGISTERS(registers_e4m3, float, SMALL, F, "m64n32k32.f32.e4m3.e4m3", ", 1, 1")
