// C++ for the emulator; emulator.h is included before.
#define KERNEL(name, threads, groups) extern "C" __attribute__((visibility("default"))) void name
#define BUF(i, T, n)      T* n
#define ARG(i, T, n)      const T& n
#define GRID_ARGS
#define GRID              (ctx())
#define GRID_SOON         (ctx())
#define GRID_EARLY        (ctx())
#define FOLLOW            0u
#define SHARED(T, n, N)   T* const n = (T*)emu::shared(__COUNTER__, sizeof(T) * (N), alignof(T))
#define POOL              ((uchar*)emu::cur->pool)
#define UNROLL
#define UNROLL_BY(n)

typedef _Float16 half;
struct alignas(2) bf16 {
    ushort bits;
    bf16() = default;
    bf16(float f) { const uint u = as_type<uint>(f); bits = ushort((u + 0x7fffu + ((u >> 16) & 1u)) >> 16); if (f != f) bits = 0x7fc0; }
    operator float() const { return as_type<float>(uint(bits) << 16); }
};
typedef vec<half, 2> half2;

FN Ctx ctx() { const emu::Group& t = *emu::cur; return Ctx{uint3(t.at[0], t.at[1], t.at[2]), uint3(t.grid[0], t.grid[1], t.grid[2]), t.fiber, t.fiber & 31, t.fiber >> 5}; }
FN void start_next() {}
FN void threadgroup_barrier(mem_flags) { emu::arrive(emu::GROUP_BARRIER); }
FN void simdgroup_barrier(mem_flags) { emu::arrive(emu::SIMD_BARRIER); }
FN float simd_shuffle_xor(float v, ushort m) { return emu::shuffle(emu::SHUFFLE_XOR, v, (emu::cur->fiber & 31) ^ m); }
FN float simd_shuffle(float v, ushort l) { return emu::shuffle(emu::SHUFFLE, v, l); }
FN uint simd_shuffle(uint v, ushort l) { return as_type<uint>(emu::shuffle(emu::SHUFFLE, as_type<float>(v), l)); }
FN float simd_sum(float v) { return emu::reduce(emu::SUM, v); }
FN float simd_max(float v) { return emu::reduce(emu::MAX, v); }
FN bool simd_any(bool b) { return emu::reduce(emu::MAX, b ? 1.0f : 0.0f) > 0.0f; }

FN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
FN float fexp2(float x) { return __builtin_exp2f(x); }
FN float frsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
FN float fdivide(float a, float b) { return a / b; }
FN float fround(float x) { return __builtin_rintf(x); }
FN float ftanh(float x) { return __builtin_tanhf(x); }
FN uint pair_of(float lo, float hi) { return as_type<uint>(half2(half(lo), half(hi))); }
FN float pair_lo(uint p) { return float(as_type<half2>(p).x); }
FN float pair_hi(uint p) { return float(as_type<half2>(p).y); }
FN uint pair_sub(uint a, uint b) { return pair_of(pair_lo(a) - pair_lo(b), pair_hi(a) - pair_hi(b)); }
FN uint pair_mul(uint a, uint b) { return pair_of(pair_lo(a) * pair_lo(b), pair_hi(a) * pair_hi(b)); }
FN uint and_or(uint x, uint mask, uint bits) { return (x & mask) | bits; }
FN float magic_byte(uint w, int i) { return as_type<float>(0x4b000000u | ((w >> (i * 8)) & 0xffu)); }       // 2^23 + byte i
FN float raised_byte(uint w, int i) { return as_type<float>(0x43000000u | ((w >> (i * 8)) & 0x7fu) << 16); }              // 128 + byte i, which is below 128
FN uint zip_lo(uint a, uint b) { return (a & 0xffffu) | (b << 16); }
FN uint zip_hi(uint a, uint b) { return (a >> 16) | (b & 0xffff0000u); }
FN uint zip(uint a, uint b, bool hi) { return hi ? zip_hi(a, b) : zip_lo(a, b); }
FN uint magic_bytes(uint w, uint i) { const uint x = (w >> (i * 16u)) & 0xffffu; return (x & 0xffu) | ((x & 0xff00u) << 8) | 0x64006400u; }   // halves: 1024 + bytes 2i and 2i+1

FN void async_copy16(void* dst, const void* src, bool valid) { emu::copy16(dst, valid ? src : 0); }
FN void async_commit() { emu::copy_commit(); }
template <int N> FN void async_wait() { emu::copy_wait(N); }
