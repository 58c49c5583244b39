// out[tokens][rows] = x[tokens][cols]·wᵀ for many tokens, on the matrix units. x was rounded to E, half or bf16, before (narrow);
// weights in E are copied as they are, others are rounded on the way. Sums are float.
//
// A group computes BM tokens by BN rows, its simdgroups WM×WN parts of that. Tiles of BK columns go through STAGES buffers in
// threadgroup memory: while one is multiplied, the next ones are on their way.
struct GemmParams {
    int tokens, rows, cols;      // cols a multiple of 8
    int add;                     // whether out is added to
};
FN uint pack(float x, float y, thread const half*) { return pair_of(min(max(x, -65504.0f), 65504.0f), min(max(y, -65504.0f), 65504.0f)); }
FN uint pack(float x, float y, thread const bf16*) { return uint(as_type<ushort>(bf16(x))) | uint(as_type<ushort>(bf16(y))) << 16; }

// Eight weights on their way to threadgroup memory.
template <typename F, typename E> struct Move {
    Raw<F> raw;
    float scale;
    FN void begin(threadgroup E*, device const uchar* row, device const ushort* scales, uint k, bool valid) {
        if (valid) { fetch8(raw, row, k); scale = F::SCALED ? half_bits(scales[k / 32]) : 1.0f; }
        else { UNROLL for (int i = 0; i < F::BITS / 4; i++) raw.w[i] = 0; scale = 0; }
    }
    FN void end(threadgroup E* dst) {
        E e;
        uint4 r;
        r.x = pack(element(raw, 0) * scale, element(raw, 1) * scale, &e); r.y = pack(element(raw, 2) * scale, element(raw, 3) * scale, &e);
        r.z = pack(element(raw, 4) * scale, element(raw, 5) * scale, &e); r.w = pack(element(raw, 6) * scale, element(raw, 7) * scale, &e);
        *(threadgroup uint4*)dst = r;
    }
};
#define MOVE_AS_IS(F, E)                                                                                                \
template <> struct Move<F, E> {                                                                                        \
    FN void begin(threadgroup E* dst, device const uchar* row, device const ushort*, uint k, bool valid) { async_copy16(dst, row + (valid ? k * 2 : 0), valid); } \
    FN void end(threadgroup E*) {}                                                                                     \
};
MOVE_AS_IS(WF16, half)
MOVE_AS_IS(WBF16, bf16)

template <typename F, typename E, int BM, int BN, int BK, int WM, int WN, int STAGES>
FN void gemm(device const E* x, device const uchar* w, device const ushort* scales, device float* out, constant GemmParams& P, threadgroup uchar* pool, Ctx t) {
    constexpr int LD = BK + 8, THREADS = BM / WM * (BN / WN) * 32, MI = WM / 16, NI = WN / 8;
    constexpr int A_CHUNKS = BM * BK / 8 / THREADS, B_CHUNKS = BN * BK / 8 / THREADS;
    const int m0 = int(t.tg.x) * BM, n0 = int(t.tg.y) * BN;
    const uint wm = t.sg / (BN / WN) * WM, wn = t.sg % (BN / WN) * WN;
    threadgroup E* sa = (threadgroup E*)pool;
    threadgroup E* sb = sa + STAGES * BM * LD;
    Move<F, E> moves[B_CHUNKS];
    const int steps = (P.cols + BK - 1) / BK;

    FragC c[MI][NI];
    UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) c_zero(c[i][j]);

#define GEMM_BEGIN(step)                                                                                               \
    if ((step) < steps) {                                                                                              \
        UNROLL for (int i = 0; i < A_CHUNKS; i++) {                                                                    \
            const int at = i * THREADS + int(t.tid), r = at / (BK / 8), k = (step) * BK + at % (BK / 8) * 8;           \
            const bool valid = m0 + r < P.tokens && k < P.cols;                                                        \
            async_copy16(sa + ((step) % STAGES * BM + r) * LD + at % (BK / 8) * 8, x + (valid ? ulong(m0 + r) * P.cols + k : 0), valid); \
        }                                                                                                              \
        UNROLL for (int i = 0; i < B_CHUNKS; i++) {                                                                    \
            const int at = i * THREADS + int(t.tid), r = at / (BK / 8), k = (step) * BK + at % (BK / 8) * 8;           \
            const bool valid = n0 + r < P.rows && k < P.cols;                                                          \
            const ulong row = valid ? ulong(n0 + r) : 0;                                                               \
            moves[i].begin(sb + ((step) % STAGES * BN + r) * LD + at % (BK / 8) * 8, w + row * P.cols * F::BITS / 8, F::SCALED ? scales + row * (P.cols / 32) : scales, uint(k), valid); \
        }                                                                                                              \
    }                                                                                                                  \
    async_commit();
#define GEMM_END(step)                                                                                                 \
    if ((step) < steps)                                                                                                \
        UNROLL for (int i = 0; i < B_CHUNKS; i++) {                                                                    \
            const int at = i * THREADS + int(t.tid), r = at / (BK / 8);                                                \
            moves[i].end(sb + ((step) % STAGES * BN + r) * LD + at % (BK / 8) * 8);                                    \
        }

    for (int s = 0; s < STAGES - 1; s++) { GEMM_BEGIN(s) GEMM_END(s) }
    for (int step = 0; step < steps; step++) {
        async_wait<STAGES - 2>();
        threadgroup_barrier(mem_flags::mem_threadgroup);
        GEMM_BEGIN(step + STAGES - 1)
        threadgroup const E* a = sa + (step % STAGES * BM + wm) * LD;
        threadgroup const E* b = sb + (step % STAGES * BN + wn) * LD;
        UNROLL for (int k = 0; k < BK; k += 16) {
            FragA<E> fa[MI];
            FragB<E> fb[NI];
            UNROLL for (int i = 0; i < MI; i++) load_a(fa[i], a + i * 16 * LD + k, LD, t.lane);
            UNROLL for (int j = 0; j < NI; j += 2) load_b2_nk(fb[j], fb[j + 1], b + j * 8 * LD + k, LD, t.lane);
            UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) mma(c[i][j], fa[i], fb[j]);
        }
        GEMM_END(step + STAGES - 1)
    }
    async_wait<0>();
    UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) UNROLL for (int e = 0; e < 4; e++) {
        const int m = m0 + int(wm) + i * 16 + int(c_row(t.lane, e)), n = n0 + int(wn) + j * 8 + int(c_col(t.lane, e));
        if (m < P.tokens && n < P.rows) {
            device float* o = out + ulong(m) * P.rows + n;
            *o = P.add ? *o + c_get(c[i][j], e) : c_get(c[i][j], e);
        }
    }
}
#define GEMM(name, F, E, BM, BN, BK, WM, WN, STAGES, GROUPS)                                                           \
KERNEL(name, BM / WM * (BN / WN) * 32, GROUPS)(BUF(0, const E, x), BUF(1, const uchar, w), BUF(2, const ushort, scales), BUF(3, float, out), ARG(4, GemmParams, P) GRID_ARGS) { \
    gemm<F, E, BM, BN, BK, WM, WN, STAGES>(x, w, scales, out, P, POOL, GRID);                                          \
}

// Rounds activations for it; a half is kept finite. A thread takes eight elements.
struct NarrowParams { ulong n; };
#define NARROW(name, E)                                                                                                \
KERNEL(name, 256, 1)(BUF(0, uint4, dst), BUF(1, const float4, src), ARG(2, NarrowParams, P) GRID_ARGS) {               \
    const Ctx t = GRID;                                                                                                \
    const ulong i = ulong(t.tg.x) * 256 + t.tid;                                                                       \
    if (i * 8 >= P.n) return;                                                                                          \
    const float4 a = src[2 * i], b = src[2 * i + 1];                                                                   \
    E e;                                                                                                               \
    uint4 r;                                                                                                           \
    r.x = pack(a.x, a.y, &e); r.y = pack(a.z, a.w, &e); r.z = pack(b.x, b.y, &e); r.w = pack(b.z, b.w, &e);           \
    dst[i] = r;                                                                                                        \
}
