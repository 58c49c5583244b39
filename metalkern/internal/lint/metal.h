// The names of Metal's library that the dialect uses, declared for clang as C++ for OpenCL, whose __global, __local, __constant and
// __private are as strict as Metal's device, threadgroup, constant and thread.
#pragma clang diagnostic ignored "-Wunknown-attributes"
#pragma clang diagnostic ignored "-Wignored-attributes"
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef unsigned char uchar; typedef unsigned short ushort; typedef unsigned int uint; typedef unsigned long ulong;
#define __METAL_VERSION__ 320
#define coherent(scope)
namespace metal {
struct bfloat { ushort bits; bfloat() = default; explicit bfloat(float); explicit operator float() const; };
template <typename T, int N> struct vec;
template <typename T> struct vec<T, 2> { T x, y; vec() = default; vec(T a) : x(a), y(a) {} vec(T a, T b) : x(a), y(b) {} };
template <typename T> struct vec<T, 3> { T x, y, z; vec() = default; vec(T a, T b, T c) : x(a), y(b), z(c) {} };
template <typename T> struct vec<T, 4> { T x, y, z, w; vec() = default; vec(T a) : x(a), y(a), z(a), w(a) {} vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {} };
template struct vec<float, 4>; template struct vec<uint, 4>;
template <typename T, int N> vec<T, N> operator*(vec<T, N>, vec<T, N>);
template <typename T, int N> vec<T, N> operator-(vec<T, N>, vec<T, N>);
typedef vec<float, 2> float2; typedef vec<float, 4> float4; typedef vec<half, 2> half2;
typedef vec<uint, 2> uint2; typedef vec<uint, 3> uint3; typedef vec<uint, 4> uint4; typedef vec<ulong, 2> ulong2;
enum thread_scope { thread_scope_thread = 0, thread_scope_threadgroup = 1, thread_scope_device = 2 };
enum memory_order { memory_order_relaxed = 0, memory_order_seq_cst = 5 };
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
void atomic_thread_fence(mem_flags, memory_order, thread_scope);
void threadgroup_barrier(mem_flags); void simdgroup_barrier(mem_flags);
float simd_sum(float); float simd_max(float); float simd_shuffle_xor(float, ushort); float simd_shuffle(float, ushort); uint simd_shuffle(uint, ushort); bool simd_any(bool);
template <typename T, typename U> T as_type(U u) { return __builtin_bit_cast(T, u); }
float max(float, float); float min(float, float); uint max(uint, uint); uint min(uint, uint); int max(int, int); int min(int, int);
float fma(float, float, float); float abs(float); float rint(float);
namespace fast { float exp2(float); }
namespace precise { float rsqrt(float); float tanh(float); }
template <typename T, int R, int C> struct simdgroup_matrix {
    struct Elements { T v[2]; T& operator[](int); T operator[](int) const; };
    Elements& thread_elements(); Elements thread_elements() const;
};
template <typename T, int R, int C> void simdgroup_load(__private simdgroup_matrix<T, R, C>&, const __local T*, ulong, ulong2 = ulong2(0, 0), bool = false);
template <typename T, typename U, int R, int C> void simdgroup_multiply_accumulate(__private simdgroup_matrix<T, R, C>&, simdgroup_matrix<U, R, C>, simdgroup_matrix<U, R, C>, simdgroup_matrix<T, R, C>);
}
#define kernel __kernel
#define device __global
#define threadgroup __local
#define constant __constant
#define thread __private
