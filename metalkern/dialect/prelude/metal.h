// The names that kernels use beyond Metal's own.
#include <metal_stdlib>
#include <metal_simdgroup_matrix>
using namespace metal;

#define KERNEL(name, threads, groups) [[max_total_threads_per_threadgroup(threads)]] kernel void name
#define BUF(i, T, n)      device T* n [[buffer(i)]]
#define ARG(i, T, n)      constant T& n [[buffer(i)]]
#define GRID_ARGS         , uint3 k_tg [[threadgroup_position_in_grid]], uint3 k_ntg [[threadgroups_per_grid]], \
                          uint k_tid [[thread_index_in_threadgroup]], uint k_lane [[thread_index_in_simdgroup]], \
                          uint k_sg [[simdgroup_index_in_threadgroup]], threadgroup uchar* k_pool [[threadgroup(0)]]
#define GRID              (Ctx{k_tg, k_ntg, k_tid, k_lane, k_sg})
#define GRID_SOON         GRID
#define SHARED(T, n, N)   threadgroup T n[N]
#define POOL              k_pool
#define FN                inline __attribute__((always_inline))
#define UNROLL            _Pragma("clang loop unroll(full)")
#define PRAGMA(text)      _Pragma(#text)
#define UNROLL_BY(n)      PRAGMA(clang loop unroll_count(n))

typedef bfloat bf16;
struct Ctx { uint3 tg, ntg; uint tid, lane, sg; };

FN float fexp2(float x) { return fast::exp2(x); }
FN float frsqrt(float x) { return precise::rsqrt(x); }
FN float fdivide(float a, float b) { return a / b; }
FN float fround(float x) { return rint(x); }
FN float ftanh(float x) { return precise::tanh(x); }
FN uint pair_of(float lo, float hi) { return as_type<uint>(half2(half(lo), half(hi))); }
FN float pair_lo(uint p) { return float(as_type<half2>(p).x); }
FN float pair_hi(uint p) { return float(as_type<half2>(p).y); }
FN uint pair_sub(uint a, uint b) { return as_type<uint>(as_type<half2>(a) - as_type<half2>(b)); }
FN uint pair_mul(uint a, uint b) { return as_type<uint>(as_type<half2>(a) * as_type<half2>(b)); }
FN uint and_or(uint x, uint mask, uint bits) { return (x & mask) | bits; }
FN float magic_byte(uint w, int i) { return as_type<float>(0x4b000000u | ((w >> (i * 8)) & 0xffu)); }       // 2^23 + byte i
FN float raised_byte(uint w, int i) { return as_type<float>(0x43000000u | ((w >> (i * 8)) & 0x7fu) << 16); }              // 128 + byte i, which is below 128
FN uint zip_lo(uint a, uint b) { return (a & 0xffffu) | (b << 16); }
FN uint zip_hi(uint a, uint b) { return (a >> 16) | (b & 0xffff0000u); }
FN uint zip(uint a, uint b, bool hi) { return hi ? zip_hi(a, b) : zip_lo(a, b); }
FN uint magic_bytes(uint w, uint i) { const uint x = (w >> (i * 16u)) & 0xffffu; return (x & 0xffu) | ((x & 0xff00u) << 8) | 0x64006400u; }   // halves: 1024 + bytes 2i and 2i+1

// Metal copies at once; the kernels' barriers make it visible.
FN void async_copy16(threadgroup void* dst, device const void* src, bool valid) {
    uint4 x = uint4(0u);
    if (valid) x = *(device const uint4*)src;
    *(threadgroup uint4*)dst = x;
}
FN void async_commit() {}
template <int N> FN void async_wait() {}
