// What CUDA and C++ have in common: the part of Metal's library that kernels use.
#if !defined(DIALECT_CPP)
#define FN                __device__ inline __attribute__((always_inline))
#define MEMBER            __device__ inline
#else
#define FN                inline __attribute__((always_inline))
#define MEMBER            inline
#endif

typedef unsigned char uchar; typedef unsigned short ushort; typedef unsigned int uint;
typedef unsigned long long ulong;

template <typename T, int N> struct vec;
template <typename T> struct alignas(2 * sizeof(T)) vec<T, 2> {
    T x, y;
    vec() = default;
    MEMBER vec(T a) : x(a), y(a) {}
    MEMBER vec(T a, T b) : x(a), y(b) {}
};
template <typename T> struct vec<T, 3> {
    T x, y, z;
    vec() = default;
    MEMBER vec(T a, T b, T c) : x(a), y(b), z(c) {}
};
template <typename T> struct alignas(4 * sizeof(T)) vec<T, 4> {
    T x, y, z, w;
    vec() = default;
    MEMBER vec(T a) : x(a), y(a), z(a), w(a) {}
    MEMBER vec(T a, T b, T c, T d) : x(a), y(b), z(c), w(d) {}
};
typedef vec<float, 2> float2; typedef vec<float, 4> float4;
typedef vec<uint, 2> uint2;   typedef vec<uint, 3> uint3;   typedef vec<uint, 4> uint4;

FN float max(float a, float b) { return a > b ? a : b; }
FN float min(float a, float b) { return a < b ? a : b; }
FN uint max(uint a, uint b) { return a > b ? a : b; }
FN uint min(uint a, uint b) { return a < b ? a : b; }
FN int max(int a, int b) { return a > b ? a : b; }
FN int min(int a, int b) { return a < b ? a : b; }
FN float abs(float x) { return x < 0.0f ? -x : x; }

template <typename T, typename U> FN T as_type(U u) {
    static_assert(sizeof(T) == sizeof(U), "as_type");
    T t;
#if defined(__CUDACC_RTC__)
    memcpy(&t, &u, sizeof(T));
#else
    __builtin_memcpy(&t, &u, sizeof(T));
#endif
    return t;
}

struct Ctx { uint3 tg, ntg; uint tid, lane, sg; };
enum class mem_flags { mem_none = 0, mem_device = 1, mem_threadgroup = 2 };
