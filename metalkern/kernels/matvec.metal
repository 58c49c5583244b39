// out[T][rows] = x[T][cols]·wᵀ for a few tokens, at the speed of memory: each byte of w is read once. A simdgroup takes R rows of w,
// and its lanes every 32nd part of them.

struct MatvecParams {
    int rows, cols;      // of w; cols a multiple of 8
    int tokens;          // at most T
    int add;             // 1: out is added to; 2: out is written, and sum is added to; else out is written
};
// The sums of rows of w, or of w and w1 in turn, for up to T tokens.
template <typename F, int T, int R, bool PAIR>
FN void sums_of(device const float* x, device const uchar* w, device const ushort* scales, device const uchar* w1, device const ushort* scales1, int first,
                constant MatvecParams& P, uint lane, thread float* acc) {
    uint from[T];
    UNROLL for (int i = 0; i < T; i++) from[i] = uint(min(i, P.tokens - 1));
    dots<F, T, R, PAIR>(x, from, w, scales, w1, scales1, first, P.rows, P.cols, lane, acc);
    UNROLL for (int i = 0; i < R * T; i++) acc[i] = simd_sum(acc[i]);
}
template <typename F, int T, int R, int NSG>
FN void matvec(device const float* x, device const uchar* w, device const ushort* scales, device float* out, device float* sum, constant MatvecParams& P, uint group, Ctx t) {
    const int first = int(group * NSG + t.sg) * R;
    if (first >= P.rows) return;
    float acc[R * T];
    sums_of<F, T, R, false>(x, w, scales, w, scales, first, P, t.lane, acc);
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < T; i++)
        if (t.lane == 0 && first + r < P.rows && i < P.tokens) {
            const ulong at = ulong(i) * P.rows + first + r;
            const float s = acc[r * T + i];
            out[at] = P.add == 1 ? out[at] + s : s;
            if (P.add == 2) sum[at] += s;
        }
}
#define MATVEC(name, F, T, R, NSG)                                                                                     \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, w), BUF(2, const ushort, scales), BUF(3, float, out), BUF(4, float, sum), ARG(5, MatvecParams, P) GRID_ARGS) { \
    const Ctx t = GRID;                                                                                                \
    matvec<F, T, R, NSG>(x, w, scales, out, sum, P, t.tg.x, t);                                                        \
}

// Up to three products with the same x: the groups from begin[i] on are those of matrix i.
struct MatvecsParams { MatvecParams a, b, c; uint begin_b, begin_c; };
#define MATVECS(name, F, T, R, NSG)                                                                                    \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, wa), BUF(2, const ushort, scales_a), BUF(3, float, a), BUF(4, const uchar, wb), BUF(5, const ushort, scales_b), BUF(6, float, b), \
                          BUF(7, const uchar, wc), BUF(8, const ushort, scales_c), BUF(9, float, c), ARG(10, MatvecsParams, P) GRID_ARGS) { \
    const Ctx t = GRID;                                                                                                \
    if (t.tg.x < P.begin_b) matvec<F, T, R, NSG>(x, wa, scales_a, a, a, P.a, t.tg.x, t);                               \
    else if (t.tg.x < P.begin_c) matvec<F, T, R, NSG>(x, wb, scales_b, b, b, P.b, t.tg.x - P.begin_b, t);              \
    else matvec<F, T, R, NSG>(x, wc, scales_c, c, c, P.c, t.tg.x - P.begin_c, t);                                      \
}

// gate = silu(x·wgᵀ)·(x·wuᵀ), and up = x·wuᵀ.
template <typename F, int T, int R, int NSG>
FN void gated(device const float* x, device const uchar* wg, device const ushort* scales_g, device const uchar* wu, device const ushort* scales_u, device float* gate, device float* up,
              constant MatvecParams& P, Ctx t) {
    const int first = int(t.tg.x * NSG + t.sg) * (R / 2);
    if (first >= P.rows) return;
    float acc[R * T];
    sums_of<F, T, R, true>(x, wg, scales_g, wu, scales_u, first, P, t.lane, acc);
    UNROLL for (int r = 0; r < R; r += 2) UNROLL for (int i = 0; i < T; i++)
        if (t.lane == 0 && first + r / 2 < P.rows && i < P.tokens) {
            const ulong at = ulong(i) * P.rows + first + r / 2;
            const float g = acc[r * T + i], u = acc[(r + 1) * T + i];
            gate[at] = fdivide(g, 1.0f + fexp2(-g * LOG2E)) * u;
            up[at] = u;
        }
}
#define GATED(name, F, T, R, NSG)                                                                                      \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, wg), BUF(2, const ushort, scales_g), BUF(3, const uchar, wu), BUF(4, const ushort, scales_u), BUF(5, float, gate), BUF(6, float, up), \
                          ARG(7, MatvecParams, P) GRID_ARGS) {                                                         \
    gated<F, T, R, NSG>(x, wg, scales_g, wu, scales_u, gate, up, P, GRID);                                             \
}
