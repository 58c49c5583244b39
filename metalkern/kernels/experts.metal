// What experts make of a few tokens, at the speed of memory. A tile's tokens share what is read of an expert's weights, so each byte of them is
// read once; a single token goes without tiles. A simdgroup takes R rows, and its lanes every 32nd part of them.
struct ExpertsParams {
    int rows, cols;      // of the matrices; cols a multiple of 8
    int active;          // experts of a token
    int direct;          // there is one token: pair i goes to expert chosen[i], and tile i is that
};

// GATED: out = silu(x·gateᵀ)·(x·upᵀ), of the tokens' rows of x; else out = x·downᵀ, of the pairs' rows. out is [pairs][rows]. T is at least the tokens
// of the tile.
template <typename F, int T, int R, bool GATED>
FN void tile_of(Tile tile, int row, device const float* x, device const uchar* origin, device const Expert* table, device const int* order, device float* out,
                constant ExpertsParams& P, uint lane) {
    constexpr int ROWS = GATED ? R / 2 : R;
    uint pairs[T], from[T];
    UNROLL for (int i = 0; i < T; i++) {
        const int at = tile.first + min(i, tile.count - 1);
        pairs[i] = uint(P.direct ? at : order[at]);
        from[i] = GATED ? pairs[i] / uint(P.active) : pairs[i];
    }
    const Expert e = table[tile.expert];
    device const uchar* w = origin + (GATED ? e.gate : e.down);
    device const uchar* w1 = GATED ? origin + e.up : w;
    device const ushort* s = (device const ushort*)(origin + (GATED ? e.gate_scales : e.down_scales));
    device const ushort* s1 = GATED ? (device const ushort*)(origin + e.up_scales) : s;
    float acc[R * T];
    dots<F, T, R, GATED>(x, from, w, s, w1, s1, row, P.rows, P.cols, lane, acc);
    UNROLL for (int i = 0; i < R * T; i++) acc[i] = simd_sum(acc[i]);
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int i = 0; i < T; i++)
        if (lane == 0 && row + r < P.rows && i < tile.count) {
            float v = acc[r * T + i];
            if (GATED) {
                const float g = acc[2 * r * T + i], u = acc[(2 * r + 1) * T + i];
                v = fdivide(g, 1.0f + fexp2(-g * LOG2E)) * u;
            }
            out[ulong(pairs[i]) * P.rows + row + r] = v;
        }
}
// T is the most tokens of a tile. Most tiles have one: what they compute is for as many as they have, or nearly so.
template <typename F, int T, int R, int NSG, bool GATED>
FN void few(device const float* x, device const uchar* origin, device const Expert* table, device const int* chosen, device const int* order, device const Tile* list,
            device float* out, constant ExpertsParams& P, Ctx t) {
    const int row = int(t.tg.x * NSG + t.sg) * (GATED ? R / 2 : R), place = int(t.tg.y);
    Tile tile = Tile{0, place, 1, 0};
    if (P.direct) tile.expert = chosen[place];
    else tile = list[place];
    if (tile.count == 0 || row >= P.rows) return;
    if (tile.count == 1) tile_of<F, 1, R, GATED>(tile, row, x, origin, table, order, out, P, t.lane);
    else if (tile.count == 2) tile_of<F, (T < 2 ? T : 2), R, GATED>(tile, row, x, origin, table, order, out, P, t.lane);
    else tile_of<F, T, R, GATED>(tile, row, x, origin, table, order, out, P, t.lane);
}
#define FEW(name, F, T, R, NSG, GATED)                                                                                 \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, origin), BUF(2, const Expert, table), BUF(3, const int, chosen), BUF(4, const int, order), BUF(5, const Tile, list), \
                          BUF(6, float, out), ARG(7, ExpertsParams, P) GRID_ARGS) {                                    \
    few<F, T, R, NSG, GATED>(x, origin, table, chosen, order, list, out, P, GRID);                                     \
}

// For one token: dst += the sum over its experts of x[i]·downᵀ times its weight, x [active][cols]. A group takes R rows, its simdgroups every NSG-th
// expert; their sums are added up in order.
template <typename F, int R, int NSG>
FN void together(device const float* x, device const uchar* origin, device const Expert* table, device const int* chosen, device const float* weights, device float* dst,
                 constant ExpertsParams& P, threadgroup float* sums, Ctx t) {
    const int row = int(t.tg.x) * R;
    float acc[R];
    UNROLL for (int i = 0; i < R; i++) acc[i] = 0;
    for (int i = int(t.sg); i < P.active; i += NSG) {
        const Expert e = table[chosen[i]];
        device const uchar* w = origin + e.down;
        device const ushort* s = (device const ushort*)(origin + e.down_scales);
        const uint from[1] = {uint(i)};
        float one[R];
        dots<F, 1, R, false>(x, from, w, s, w, s, row, P.rows, P.cols, t.lane, one);
        UNROLL for (int r = 0; r < R; r++) acc[r] = fma(one[r], weights[i], acc[r]);
    }
    UNROLL for (int r = 0; r < R; r++) {
        const float v = simd_sum(acc[r]);
        if (t.lane == 0) sums[t.sg * R + r] = v;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (int(t.tid) < R && row + int(t.tid) < P.rows) {
        float v = dst[row + t.tid];
        UNROLL for (int i = 0; i < NSG; i++) v += sums[i * R + t.tid];
        dst[row + t.tid] = v;
    }
}
#define TOGETHER(name, F, R, NSG)                                                                                      \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, origin), BUF(2, const Expert, table), BUF(3, const int, chosen), BUF(4, const float, weights), BUF(5, float, dst), \
                          ARG(6, ExpertsParams, P) GRID_ARGS) {                                                        \
    SHARED(float, sums, NSG * R);                                                                                      \
    together<F, R, NSG>(x, origin, table, chosen, weights, dst, P, sums, GRID);                                        \
}

// dst [tokens][cols] += the sum over a token's pairs of their rows of x [pairs][cols], times their weights, in the order in which they were chosen.
struct GatherParams { ulong n; uint cols, active; };
KERNEL(gather, 256, 1)(BUF(0, float, dst), BUF(1, const float, x), BUF(2, const float, weights), ARG(3, GatherParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    if (i >= P.n) return;
    const ulong token = i / P.cols, col = i % P.cols;
    float s = dst[i];
    for (uint k = 0; k < P.active; k++) s = fma(weights[token * P.active + k], x[(token * P.active + k) * P.cols + col], s);
    dst[i] = s;
}
