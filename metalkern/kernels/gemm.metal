// out[tokens][rows] = x[tokens][cols]·wᵀ for many tokens, on the matrix units, whose operands have 11 bits (half) or 8 (bf16). x is two
// such terms, hi and what its rounding left over (split), so that a product is as exact as with float x for weights that are stored in E. Weights in
// float are two terms, too: of the four products that of both lows is left out. What is quantized is rounded to half. Sums are float.
//
// A group computes BM tokens by BN rows, its simdgroups WM×WN parts of that. Tiles of BK columns go through STAGES buffers in
// threadgroup memory: while one is multiplied, the next ones are on their way.
struct GemmParams {
    int tokens, rows, cols;      // cols a multiple of 8
    int add;                     // whether out is added to
    uint token_tiles, row_tiles; // of the result
};
constexpr constant uint BAND = 8;

// How many terms of E a weight is.
template <typename F> struct Parts { static constant constexpr int value = 1; };
template <> struct Parts<WF32> { static constant constexpr int value = 2; };

// Eight weights on their way to threadgroup memory: elements [at, at+8) from row w on. The second term goes to apart elements behind the first.
template <typename F, typename E> struct Move {
    Eight<F> eight;
    bool valid;
    static FN void begin(thread Move& self, threadgroup half*, Row w, uint at, bool valid) {
        self.valid = valid;
        Eight<F>::fetch(self.eight, w, at);
    }
    static FN void end(thread const Move& self, threadgroup half* dst, int) {
        float v[8];
        uint x[4];
        Eight<F>::values(self.eight, v);
        UNROLL for (int i = 0; i < 4; i++) x[i] = self.valid ? pair_of(v[2 * i], v[2 * i + 1]) : 0;
        *(threadgroup uint4*)dst = uint4(x[0], x[1], x[2], x[3]);
    }
};
template <> struct Move<WF32, half> {
    Raw<WF32> raw;
    static FN void begin(thread Move& self, threadgroup half*, Row w, uint at, bool valid) {
        if (valid) fetch8(self.raw, w.data, at);
        else { UNROLL for (int i = 0; i < 8; i++) self.raw.w[i] = 0; }
    }
    static FN void end(thread const Move& self, threadgroup half* dst, int apart) {
        half e;
        uint hi[4], lo[4];
        UNROLL for (int i = 0; i < 4; i++) split2(hi[i], lo[i], element(self.raw, 2 * i), element(self.raw, 2 * i + 1), &e);
        *(threadgroup uint4*)dst = uint4(hi[0], hi[1], hi[2], hi[3]);
        *(threadgroup uint4*)(dst + apart) = uint4(lo[0], lo[1], lo[2], lo[3]);
    }
};
#define MOVE_AS_IS(F, E)                                                                                               \
template <> struct Move<F, E> {                                                                                        \
    static FN void begin(thread Move&, threadgroup E* dst, Row w, uint at, bool valid) { async_copy16(dst, (device const E*)w.data + at, valid); } \
    static FN void end(thread const Move&, threadgroup E*, int) {}                                                     \
};
#define MOVE_PAIRS(F, STORED)                                                                                          \
template <> struct Move<F, half> {                                                                                     \
    uint words[STORED::BITS / 4];                                                                                      \
    ushort scale;                                                                                                      \
    static FN void begin(thread Move& self, threadgroup half*, Row w, uint at, bool valid) {                           \
        if (valid) { Fetch<STORED, 8>::get(w.data, at, self.words); self.scale = ((device const ushort*)w.scales)[at / 32]; } \
        else { UNROLL for (int i = 0; i < STORED::BITS / 4; i++) self.words[i] = 0; self.scale = 0; }                  \
    }                                                                                                                  \
    static FN void end(thread const Move& self, threadgroup half* dst, int) {                                          \
        uint x[4];                                                                                                     \
        Unpack<STORED>::template get<8>(self.words, self.scale, x);                                                    \
        *(threadgroup uint4*)dst = uint4(x[0], x[1], x[2], x[3]);                                                      \
    }                                                                                                                  \
};
MOVE_PAIRS(WQ8, Q8)
MOVE_PAIRS(WQ4, Q4)
MOVE_AS_IS(WF16, half)
MOVE_AS_IS(WBF16, bf16)

// The tokens of a group's tile: count of them, number i of which is row from(i) of x and row to(i) of out.
struct Consecutive {
    int first, count;
    FN uint from(int i) const { return uint(first + i); }
    FN uint to(int i) const { return uint(first + i); }
};

// Computes a tile: the tokens of T, and rows n0, n0+1, … of the weights w [rows][cols]. x's second terms lie apart elements behind the first.
template <typename F, typename E, int BM, int BN, int BK, int WM, int WN, int STAGES, typename T>
FN void gemm_tile(thread const T& tokens, device const E* x, ulong apart, device const uchar* w, device const ushort* scales, device float* out, int rows, int cols, int n0, bool add,
                  threadgroup uchar* pool, Ctx t) {
    constexpr int LD = BK + 8, THREADS = BM / WM * (BN / WN) * 32, MI = WM / 16, NI = WN / 8;
    constexpr int ROW = BK / 8, APART = THREADS / ROW;                   // a thread's pieces are so many rows apart
    constexpr int A_PIECES = BM / APART, B_PIECES = BN / APART;
    constexpr int PARTS = Parts<F>::value, PASSES = PARTS + 1;           // over a tile: hi·w, lo·w, and hi·(w's second term)
    const uint wm = t.sg / (BN / WN) * WM, wn = t.sg % (BN / WN) * WN;
    const int piece_row = int(t.tid) / ROW, piece_col = int(t.tid) % ROW * 8;
    threadgroup E* sa = (threadgroup E*)pool;                            // [STAGES][hi, lo][BM][LD]
    threadgroup E* sb = sa + STAGES * 2 * BM * LD;                       // [STAGES][PARTS][BN][LD]
    device const E* xt_lo = x + apart;
    const Row wt = row_at<F>(w, scales, rows, cols, ulong(n0));
    // Rows past the last are that one again: their results are not written.
    uint xa[A_PIECES], wa[B_PIECES];
    UNROLL for (int i = 0; i < A_PIECES; i++) xa[i] = tokens.from(min(piece_row + i * APART, tokens.count - 1)) * cols + piece_col;
    UNROLL for (int i = 0; i < B_PIECES; i++) wa[i] = uint(min(piece_row + i * APART, rows - 1 - n0)) * cols + piece_col;
    Move<F, E> moves[B_PIECES];
    const int steps = (cols + BK - 1) / BK;

    FragC c[MI][NI];
    UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) c_zero(c[i][j]);

#define GEMM_BEGIN(step, stage)                                                                                        \
    if ((step) < steps) {                                                                                              \
        const bool valid = (step) * BK + piece_col < cols;                                                             \
        const uint k = valid ? uint(step) * BK : 0;                                                                    \
        threadgroup E* da = sa + ((stage) * 2 * BM + piece_row) * LD + piece_col;                                      \
        threadgroup E* db = sb + ((stage) * PARTS * BN + piece_row) * LD + piece_col;                                  \
        UNROLL for (int i = 0; i < A_PIECES; i++) {                                                                    \
            async_copy16(da + i * APART * LD, x + (valid ? xa[i] + k : 0), valid);                                     \
            async_copy16(da + (BM + i * APART) * LD, xt_lo + (valid ? xa[i] + k : 0), valid);                          \
        }                                                                                                              \
        UNROLL for (int i = 0; i < B_PIECES; i++) Move<F, E>::begin(moves[i], db + i * APART * LD, wt, valid ? wa[i] + k : 0, valid); \
    }                                                                                                                  \
    async_commit();
#define GEMM_END(step, stage)                                                                                          \
    if ((step) < steps) {                                                                                              \
        threadgroup E* db = sb + ((stage) * PARTS * BN + piece_row) * LD + piece_col;                                  \
        UNROLL for (int i = 0; i < B_PIECES; i++) Move<F, E>::end(moves[i], db + i * APART * LD, BN * LD);             \
    }

    for (int s = 0; s < STAGES - 1; s++) { GEMM_BEGIN(s, s) GEMM_END(s, s) }
    int stage = 0, ahead = STAGES - 1;                                   // of this step, and of the one that is fetched
    for (int step = 0; step < steps; step++) {
        async_wait<STAGES - 2>();
        threadgroup_barrier(mem_flags::mem_threadgroup);
        GEMM_BEGIN(step + STAGES - 1, ahead)
        threadgroup const E* a = sa + (stage * 2 * BM + wm) * LD;
        threadgroup const E* b = sb + (stage * PARTS * BN + wn) * LD;
        FragA<E> fa[2][MI];                                              // the next are loaded while these are multiplied
        FragB<E> fb[2][NI];
        UNROLL for (int u = -1; u < BK / 16 * PASSES; u++) {
            const int next = u + 1, pass = next % PASSES, k = next / PASSES * 16;
            if (k < BK) {
                const int bn = next / PASSES * PARTS + pass / 2;         // of the fragments of B; lo·w has those of hi·w
                UNROLL for (int i = 0; i < MI; i++) load_a(fa[next & 1][i], a + (pass % 2 * BM + i * 16) * LD + k, LD, t.lane);
                if (pass != 1) UNROLL for (int j = 0; j < NI; j += 2) load_b2_nk(fb[bn & 1][j], fb[bn & 1][j + 1], b + (pass / 2 * BN + j * 8) * LD + k, LD, t.lane);
            }
            if (u >= 0) {
                const int bu = u / PASSES * PARTS + u % PASSES / 2;
                UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) mma(c[i][j], fa[u & 1][i], fb[bu & 1][j]);
            }
        }
        GEMM_END(step + STAGES - 1, ahead)
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        ahead = ahead + 1 == STAGES ? 0 : ahead + 1;
    }
    async_wait<0>();
    UNROLL for (int i = 0; i < MI; i++) UNROLL for (int j = 0; j < NI; j++) UNROLL for (int e = 0; e < 4; e++) {
        const int m = int(wm) + i * 16 + int(c_row(t.lane, e)), n = n0 + int(wn) + j * 8 + int(c_col(t.lane, e));
        if (m < tokens.count && n < rows) {
            device float* o = out + ulong(tokens.to(m)) * rows + n;
            *o = add ? *o + c_get(c[i][j], e) : c_get(c[i][j], e);
        }
    }
}

template <typename F, typename E, int BM, int BN, int BK, int WM, int WN, int STAGES>
FN void gemm(device const E* x, device const uchar* w, device const ushort* scales, device float* out, constant GemmParams& P, threadgroup uchar* pool, Ctx t) {
    // Groups that run at the same time take tiles near each other, so that caches serve them: BAND tiles of tokens for each tile of rows.
    const uint band = t.tg.x / (BAND * P.row_tiles) * BAND, wide = min(uint(BAND), P.token_tiles - band), in = t.tg.x - band * P.row_tiles;
    const int m0 = int(band + in % wide) * BM;
    const Consecutive tokens = Consecutive{m0, min(BM, P.tokens - m0)};
    gemm_tile<F, E, BM, BN, BK, WM, WN, STAGES>(tokens, x, ulong(P.tokens) * P.cols, w, scales, out, P.rows, P.cols, int(in / wide) * BN, P.add != 0, pool, t);
}
#define GEMM(name, F, E, BM, BN, BK, WM, WN, STAGES, GROUPS)                                                           \
KERNEL(name, BM / WM * (BN / WN) * 32, GROUPS)(BUF(0, const E, x), BUF(1, const uchar, w), BUF(2, const ushort, scales), BUF(3, float, out), ARG(4, GemmParams, P) GRID_ARGS) { \
    gemm<F, E, BM, BN, BK, WM, WN, STAGES>(x, w, scales, out, P, POOL, GRID);                                          \
}

// Makes x's two terms for it: dst is [hi, lo][n]. A thread takes eight elements.
struct SplitParams { ulong n; };
#define SPLIT(name, E)                                                                                                 \
KERNEL(name, 256, 1)(BUF(0, uint4, dst), BUF(1, const float4, src), ARG(2, SplitParams, P) GRID_ARGS) {                \
    const Ctx t = GRID;                                                                                                \
    const ulong i = ulong(t.tg.x) * 256 + t.tid;                                                                       \
    if (i * 8 >= P.n) return;                                                                                          \
    const float4 a = src[2 * i], b = src[2 * i + 1];                                                                   \
    E e;                                                                                                               \
    uint hi[4], lo[4];                                                                                                 \
    split2(hi[0], lo[0], a.x, a.y, &e); split2(hi[1], lo[1], a.z, a.w, &e);                                            \
    split2(hi[2], lo[2], b.x, b.y, &e); split2(hi[3], lo[3], b.z, b.w, &e);                                            \
    dst[i] = uint4(hi[0], hi[1], hi[2], hi[3]);                                                                        \
    dst[P.n / 8 + i] = uint4(lo[0], lo[1], lo[2], lo[3]);                                                              \
}
