// out[tokens][rows] = x[tokens][cols]·wᵀ for many tokens, on the matrix units. x was rounded to E, half or bf16, before (narrow);
// weights in E are copied as they are, others are rounded on the way. Sums are float.
//
// A group computes BM tokens by BN rows, its simdgroups WM×WN parts of that. Tiles of BK columns go through STAGES buffers in
// threadgroup memory: while one is multiplied, the next ones are on their way.
struct GemmParams {
    int tokens, rows, cols;      // cols a multiple of 8
    int add;                     // whether out is added to
    uint token_tiles, row_tiles; // of the result
};
constexpr constant uint BAND = 8;
FN uint pack(float x, float y, thread const half*) { return pair_of(min(max(x, -65504.0f), 65504.0f), min(max(y, -65504.0f), 65504.0f)); }
FN uint pack(float x, float y, thread const bf16*) { return uint(as_type<ushort>(bf16(x))) | uint(as_type<ushort>(bf16(y))) << 16; }

// Eight weights on their way to threadgroup memory: elements [at, at+8) of w.
template <typename F, typename E> struct Move {
    Raw<F> raw;
    float scale;
    static FN void begin(thread Move& self, threadgroup E*, device const uchar* w, device const ushort* scales, uint at, bool valid) {
        if (valid) { fetch8(self.raw, w, at); self.scale = F::SCALED ? half_bits(scales[at / 32]) : 1.0f; }
        else { UNROLL for (int i = 0; i < F::BITS / 4; i++) self.raw.w[i] = 0; self.scale = 0; }
    }
    static FN void end(thread const Move& self, threadgroup E* dst) {
        E e;
        uint4 r;
        r.x = pack(element(self.raw, 0) * self.scale, element(self.raw, 1) * self.scale, &e); r.y = pack(element(self.raw, 2) * self.scale, element(self.raw, 3) * self.scale, &e);
        r.z = pack(element(self.raw, 4) * self.scale, element(self.raw, 5) * self.scale, &e); r.w = pack(element(self.raw, 6) * self.scale, element(self.raw, 7) * self.scale, &e);
        *(threadgroup uint4*)dst = r;
    }
};
#define MOVE_AS_IS(F, E)                                                                                               \
template <> struct Move<F, E> {                                                                                        \
    static FN void begin(thread Move&, threadgroup E* dst, device const uchar* w, device const ushort*, uint at, bool valid) { async_copy16(dst, (device const E*)w + at, valid); } \
    static FN void end(thread const Move&, threadgroup E*) {}                                                          \
};
#define MOVE_PAIRS(F, STORED)                                                                                          \
template <> struct Move<F, half> {                                                                                     \
    uint words[STORED::BITS / 4];                                                                                      \
    ushort scale;                                                                                                      \
    static FN void begin(thread Move& self, threadgroup half*, device const uchar* w, device const ushort* scales, uint at, bool valid) { \
        if (valid) { Fetch<STORED, 8>::get(w, at, self.words); self.scale = scales[at / 32]; }                         \
        else { UNROLL for (int i = 0; i < STORED::BITS / 4; i++) self.words[i] = 0; self.scale = 0; }                  \
    }                                                                                                                  \
    static FN void end(thread const Move& self, threadgroup half* dst) {                                               \
        uint x[4];                                                                                                     \
        Unpack<STORED>::template get<8>(self.words, self.scale, x);                                                    \
        *(threadgroup uint4*)dst = uint4(x[0], x[1], x[2], x[3]);                                                      \
    }                                                                                                                  \
};
MOVE_PAIRS(WQ8, Q8)
MOVE_PAIRS(WQ4, Q4)
MOVE_AS_IS(WF16, half)
MOVE_AS_IS(WBF16, bf16)

template <typename F, typename E, int BM, int BN, int BK, int WM, int WN, int STAGES>
FN void gemm(device const E* x, device const uchar* w, device const ushort* scales, device float* out, constant GemmParams& P, threadgroup uchar* pool, Ctx t) {
    constexpr int LD = BK + 8, THREADS = BM / WM * (BN / WN) * 32, MI = WM / 16, NI = WN / 8;
    constexpr int ROW = BK / 8, APART = THREADS / ROW;                   // a thread's pieces are so many rows apart
    constexpr int A_PIECES = BM / APART, B_PIECES = BN / APART;
    // Groups that run at the same time take tiles near each other, so that caches serve them: BAND tiles of tokens for each tile of rows.
    const uint band = t.tg.x / (BAND * P.row_tiles) * BAND, wide = min(uint(BAND), P.token_tiles - band), in = t.tg.x - band * P.row_tiles;
    const int m0 = int(band + in % wide) * BM, n0 = int(in / wide) * BN;
    const uint wm = t.sg / (BN / WN) * WM, wn = t.sg % (BN / WN) * WN;
    const int piece_row = int(t.tid) / ROW, piece_col = int(t.tid) % ROW * 8;
    threadgroup E* sa = (threadgroup E*)pool;                            // [STAGES][BM][LD]
    threadgroup E* sb = sa + STAGES * BM * LD;                           // [STAGES][BN][LD]
    device const E* xt = x + ulong(m0) * P.cols;
    device const uchar* wt = w + ulong(n0) * P.cols * F::BITS / 8;
    device const ushort* st = F::SCALED ? scales + ulong(n0) * (P.cols / 32) : scales;
    // Rows past the last are that one again: their results are not written.
    uint xa[A_PIECES], wa[B_PIECES];
    UNROLL for (int i = 0; i < A_PIECES; i++) xa[i] = uint(min(piece_row + i * APART, P.tokens - 1 - m0)) * P.cols + piece_col;
    UNROLL for (int i = 0; i < B_PIECES; i++) wa[i] = uint(min(piece_row + i * APART, P.rows - 1 - n0)) * P.cols + piece_col;
    Move<F, E> moves[B_PIECES];
    const int steps = (P.cols + BK - 1) / BK;

    FragC c[MI][NI];
    UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) c_zero(c[i][j]);

#define GEMM_BEGIN(step, stage)                                                                                        \
    if ((step) < steps) {                                                                                              \
        const bool valid = (step) * BK + piece_col < P.cols;                                                           \
        const uint k = valid ? uint(step) * BK : 0;                                                                    \
        threadgroup E* da = sa + ((stage) * BM + piece_row) * LD + piece_col;                                          \
        threadgroup E* db = sb + ((stage) * BN + piece_row) * LD + piece_col;                                          \
        UNROLL for (int i = 0; i < A_PIECES; i++) async_copy16(da + i * APART * LD, xt + (valid ? xa[i] + k : 0), valid); \
        UNROLL for (int i = 0; i < B_PIECES; i++) Move<F, E>::begin(moves[i], db + i * APART * LD, wt, st, valid ? wa[i] + k : 0, valid); \
    }                                                                                                                  \
    async_commit();
#define GEMM_END(step, stage)                                                                                          \
    if ((step) < steps) {                                                                                              \
        threadgroup E* db = sb + ((stage) * BN + piece_row) * LD + piece_col;                                          \
        UNROLL for (int i = 0; i < B_PIECES; i++) Move<F, E>::end(moves[i], db + i * APART * LD);                                   \
    }

    for (int s = 0; s < STAGES - 1; s++) { GEMM_BEGIN(s, s) GEMM_END(s, s) }
    int stage = 0, ahead = STAGES - 1;                                   // of this step, and of the one that is fetched
    for (int step = 0; step < steps; step++) {
        async_wait<STAGES - 2>();
        threadgroup_barrier(mem_flags::mem_threadgroup);
        GEMM_BEGIN(step + STAGES - 1, ahead)
        threadgroup const E* a = sa + (stage * BM + wm) * LD;
        threadgroup const E* b = sb + (stage * BN + wn) * LD;
        FragA<E> fa[2][MI];                                              // the next are loaded while these are multiplied
        FragB<E> fb[2][NI];
        UNROLL for (int k = -16; k < BK; k += 16) {
            const int next = k / 16 + 1;
            if (k + 16 < BK) {
                UNROLL for (int i = 0; i < MI; i++) load_a(fa[next & 1][i], a + i * 16 * LD + k + 16, LD, t.lane);
                UNROLL for (int j = 0; j < NI; j += 2) load_b2_nk(fb[next & 1][j], fb[next & 1][j + 1], b + j * 8 * LD + k + 16, LD, t.lane);
            }
            if (k >= 0) UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) mma(c[i][j], fa[~next & 1][i], fb[~next & 1][j]);
        }
        GEMM_END(step + STAGES - 1, ahead)
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        ahead = ahead + 1 == STAGES ? 0 : ahead + 1;
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
