// What experts make of many tokens, on the matrix units: gemm.metal's product, of the tokens of one expert in each tile.
struct ExpertGemmParams {
    int rows, cols;      // of the matrices
    int part;            // 0 is gate, 1 up, 2 down
    int active;          // pairs of a row of x: experts of a token, or 1
    uint row_tiles;
    uint x_rows;         // rows of x: its second terms lie behind so many
};
// The tokens of a tile, by their pairs.
struct Listed {
    device const int* pairs;
    int count;
    uint active;
    FN uint from(int i) const { return uint(pairs[i]) / active; }
    FN uint to(int i) const { return uint(pairs[i]); }
};

template <typename F, typename E, int BM, int BN, int BK, int WM, int WN, int STAGES>
FN void expert_gemm(device const E* x, device const uchar* origin, device const Expert* table, device const int* order, device const Tile* list, device float* out,
                    constant ExpertGemmParams& P, threadgroup uchar* pool, Ctx t) {
    const Tile tile = list[t.tg.x / P.row_tiles];
    if (tile.count == 0) return;
    const Expert e = table[tile.expert];
    const ulong w = P.part == 0 ? e.gate : P.part == 1 ? e.up : e.down, s = P.part == 0 ? e.gate_scales : P.part == 1 ? e.up_scales : e.down_scales;
    const Listed tokens = Listed{order + tile.first, tile.count, uint(P.active)};
    gemm_tile<F, E, BM, BN, BK, WM, WN, STAGES>(tokens, x, ulong(P.x_rows) * P.cols, origin + w, (device const ushort*)(origin + s), out, P.rows, P.cols,
                                                int(t.tg.x % P.row_tiles) * BN, false, pool, t);
}
#define EXPERT_GEMM(name, F, E, BM, BN, BK, WM, WN, STAGES, GROUPS)                                                    \
KERNEL(name, BM / WM * (BN / WN) * 32, GROUPS)(BUF(0, const E, x), BUF(1, const uchar, origin), BUF(2, const Expert, table), BUF(3, const int, order), BUF(4, const Tile, list), BUF(5, float, out), \
                                              ARG(6, ExpertGemmParams, P) GRID_ARGS) {                                 \
    expert_gemm<F, E, BM, BN, BK, WM, WN, STAGES>(x, origin, table, order, list, out, P, POOL, GRID);                  \
}
