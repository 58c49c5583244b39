// CUDA, without any of its headers.
#define KERNEL(name, threads, groups) extern "C" __global__ void __launch_bounds__(threads, groups) name
#define BUF(i, T, n)      T* __restrict__ n
#define ARG(i, T, n)      const T n
#define GRID_ARGS         , const volatile uint* k_halt
#define GRID              (ctx(k_halt))
#define GRID_SOON         (start_next(), ctx(k_halt))
#define GRID_EARLY        (place(0))
#define FOLLOW            (follow_behind(k_halt))
#define SHARED(T, n, N)   __shared__ T n[N]
#define POOL              (k_pool)
#define UNROLL            _Pragma("unroll")
#define PRAGMA(text)      _Pragma(#text)
#define UNROLL_BY(n)      PRAGMA(unroll n)

extern __shared__ uint4 k_pool_words[];
#define k_pool ((uchar*)k_pool_words)

struct alignas(2) half {
    ushort bits;
    half() = default;
    MEMBER half(float f) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(f)); }
    MEMBER operator float() const { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits)); return f; }
};
struct alignas(2) bf16 {
    ushort bits;
    bf16() = default;
    MEMBER bf16(float f) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(f)); }
    MEMBER operator float() const { return as_type<float>(uint(bits) << 16); }
};

#define SPECIAL(fn, r) FN uint fn() { uint v; asm("mov.u32 %0, %%" r ";" : "=r"(v)); return v; }
SPECIAL(s_tid, "tid.x") SPECIAL(s_x, "ctaid.x") SPECIAL(s_y, "ctaid.y") SPECIAL(s_z, "ctaid.z")
SPECIAL(s_nx, "nctaid.x") SPECIAL(s_ny, "nctaid.y") SPECIAL(s_nz, "nctaid.z")
// The next kernel may start now, and waits as this one does: package cuda says how. Said after this one's own wait, lest many kernels hold a
// multiprocessor's room that wait for one another; by small kernels before it (GRID_SOON).
FN void start_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Waits until the kernel before has ended. What is returned is 0, of which no compiler knows before it has waited.
FN uint follow() {
    uint zero = 0;
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\nmov.u32 %0, 0;" : "=r"(zero) :: "memory");
#endif
    return zero;
}
// A launch behind a gate does nothing if the word that the gate may have written is 0.
FN uint follow_behind(const volatile uint* halt) {
    const uint zero = follow();
    if (halt && *halt == 0) asm volatile("exit;");
    return zero;
}
FN Ctx place(uint zero) {
    const uint t = s_tid() + zero;
    return Ctx{uint3(s_x() + zero, s_y() + zero, s_z() + zero), uint3(s_nx(), s_ny(), s_nz()), t, t & 31, t >> 5};
}
FN Ctx ctx(const volatile uint* halt) { const uint zero = follow_behind(halt); start_next(); return place(zero); }

FN void threadgroup_barrier(mem_flags) { asm volatile("bar.sync 0;" ::: "memory"); }
FN void simdgroup_barrier(mem_flags) { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }
FN float simd_shuffle_xor(float v, ushort m) { float r; asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(r) : "f"(v), "r"((uint)m)); return r; }
FN float simd_shuffle(float v, ushort l) { float r; asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(r) : "f"(v), "r"((uint)l)); return r; }
FN uint simd_shuffle(uint v, ushort l) { uint r; asm volatile("shfl.sync.idx.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(r) : "r"(v), "r"((uint)l)); return r; }
FN float simd_sum(float v) { UNROLL for (int m = 16; m; m >>= 1) v += simd_shuffle_xor(v, m); return v; }
FN float simd_max(float v) { UNROLL for (int m = 16; m; m >>= 1) v = max(v, simd_shuffle_xor(v, m)); return v; }
FN bool simd_any(bool b) { uint r; asm volatile("{ .reg .pred p, q; setp.ne.u32 p, %1, 0; vote.sync.any.pred q, p, 0xffffffff; selp.u32 %0, 1, 0, q; }" : "=r"(r) : "r"((uint)b)); return r != 0; }

FN float fma(float a, float b, float c) { float r; asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(r) : "f"(a), "f"(b), "f"(c)); return r; }
FN float fexp2(float x) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
FN float frsqrt(float x) { float s; asm("sqrt.rn.f32 %0, %1;" : "=f"(s) : "f"(x)); float r; asm("rcp.rn.f32 %0, %1;" : "=f"(r) : "f"(s)); return r; }
FN float fdivide(float a, float b) { float r; asm("div.rn.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
FN float fround(float x) { float r; asm("cvt.rni.f32.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
FN float ftanh(float x) {                    // 1 - 2/(e^2x + 1), and x itself where that would cancel
    if (abs(x) < 0.03f) return x - x * x * x * (1.0f / 3.0f);
    return 1.0f - fdivide(2.0f, fexp2(2.885390082f * x) + 1.0f);
}
FN uint prmt(uint a, uint b, uint s) { uint r; asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(s)); return r; }

FN uint pair_of(float lo, float hi) { uint r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo)); return r; }
FN float pair_lo(uint p) { float f; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }" : "=f"(f) : "r"(p)); return f; }
FN float pair_hi(uint p) { float f; asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h; }" : "=f"(f) : "r"(p)); return f; }
FN uint pair_sub(uint a, uint b) { uint r; asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
FN uint pair_mul(uint a, uint b) { uint r; asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
FN uint and_or(uint x, uint mask, uint bits) { uint r; asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(x), "r"(mask), "r"(bits)); return r; }
FN float magic_byte(uint w, int i) { return as_type<float>(prmt(w, 0x4b000000u, 0x7440 | i)); }       // 2^23 + byte i
FN float raised_byte(uint w, int i) { return as_type<float>(prmt(w, 0x43000000u, 0x7044 | i << 8)); }              // 128 + byte i, which is below 128
FN uint zip_lo(uint a, uint b) { return prmt(a, b, 0x5410); }
FN uint zip_hi(uint a, uint b) { return prmt(a, b, 0x7632); }
FN uint zip(uint a, uint b, bool hi) { return prmt(a, b, hi ? 0x7632 : 0x5410); }
FN uint magic_bytes(uint w, uint i) { return prmt(w, 0x64646464u, i ? 0x4342 : 0x4140); }                          // halves: 1024 + bytes 2i and 2i+1

FN uint shared_address(const void* p) { ulong a; asm("cvta.to.shared.u64 %0, %1;" : "=l"(a) : "l"(p)); return uint(a); }
FN void async_copy16(void* dst, const void* src, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(shared_address(dst)), "l"(src), "r"(valid ? 16 : 0) : "memory");
}
FN void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> FN void async_wait() { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }
