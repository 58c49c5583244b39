// The product of gemm.metal for weights in f16 and bf16, with what only Hopper has: wgmma, whose operands are read from shared memory by four warps
// together, and TMA, which brings tiles there. x is the same two terms: a tile of weights is brought once and multiplied with both. PTX ISA,
// "Asynchronous Warpgroup Level Matrix Instructions" and "Data Movement and Conversion Instructions: Bulk copy".
//
// Two groups of four warps multiply 64 tokens by BN rows each; one thread of a third keeps STAGES tiles of 64 columns on their way. A block takes
// tiles of the result until none is left, so the first columns of the next tile come while the last one is written. CLUSTER blocks
// next to each other have different tokens and the same rows: each brings a part of the weights, to all of them.
struct alignas(64) TensorMap { ulong words[16]; };

struct WideParams {
    TensorMap x, w;              // of the terms, and of the weights
    int tokens, rows, cols;      // cols a multiple of 8
    int add;                     // whether out is added to
    int token_tiles, row_tiles;  // of the result; token_tiles a multiple of CLUSTER
};
static_assert(sizeof(WideParams) == 320, "as in wide.go");
constexpr int WIDE_TOKENS = 128, WIDE_COLS = 64, WIDE_BAND = 8;
constexpr uint TERM_BYTES = WIDE_TOKENS * WIDE_COLS * 2;

// Brings the box at column col and row row of a matrix; at is where, and done the barrier that its bytes are counted at.
FN void bring(uint at, const TensorMap& m, int col, int row, uint done) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
        :: "r"(at), "l"(&m), "r"(col), "r"(row), "r"(done) : "memory");
}
// The same for all blocks of mask.
FN void bring_all(uint at, const TensorMap& m, int col, int row, uint done, ushort mask) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;"
        :: "r"(at), "l"(&m), "r"(col), "r"(row), "r"(done), "h"(mask) : "memory");
}

// d[64][N] += a[64][16]·b[N][16]ᵀ. The tag tells the type.
#define WGMMA(T, name)                                                                                                 \
FN void wgmma(float (&d)[64], ulong a, ulong b, const T*) {                                                 \
    asm volatile("{ .reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32." name "." name " {" PLACES_64 "}, %64, %65, p, 1, 1, 0, 0; }" \
        : SUMS_64(d, 0) : "l"(a), "l"(b));                                                                  \
}                                                                                                                      \
FN void wgmma(float (&d)[128], ulong a, ulong b, const T*) {                                                \
    asm volatile("{ .reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32." name "." name " {" PLACES_128 "}, %128, %129, p, 1, 1, 0, 0; }" \
        : SUMS_64(d, 0), SUMS_64(d, 64) : "l"(a), "l"(b));                                                  \
}
WGMMA(half, "f16")
WGMMA(bf16, "bf16")

// Where tile i of the result begins. Blocks that run at the same time take tiles near each other: WIDE_BAND tiles of tokens for each of rows.
FN void wide_tile(const WideParams& P, int i, int& token, int& row, int bn) {
    const int band = i / (WIDE_BAND * P.row_tiles) * WIDE_BAND, wide = min(WIDE_BAND, P.token_tiles - band), in = i - band * P.row_tiles;
    token = (band + in % wide) * WIDE_TOKENS;
    row = in / wide * bn;
}

template <typename E, int BN, int STAGES, int CLUSTER>
FN void wide(float* out, const WideParams& P, uchar* pool, ulong* barriers, Ctx t) {
    constexpr uint PART_BYTES = BN / CLUSTER * WIDE_COLS * 2, STAGE_BYTES = 2 * TERM_BYTES + CLUSTER * PART_BYTES;
    const uint tiles_at = (shared_address(pool) + 1023) & ~1023u;        // [STAGES][hi, lo, weights], swizzled
    const uint full = shared_address(barriers), empty = full + STAGES * 8;
    const uint rank = CLUSTER > 1 ? cluster_rank() : 0;
    const int tiles = P.token_tiles * P.row_tiles, steps = (P.cols + WIDE_COLS - 1) / WIDE_COLS;
    if (t.tid == 0) {
        for (int i = 0; i < STAGES; i++) { barrier_init(full + i * 8, 1); barrier_init(empty + i * 8, 2 * CLUSTER); }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    if (CLUSTER > 1) cluster_barrier(); else threadgroup_barrier(mem_flags::mem_threadgroup);

    uint stage = 0, phase = 0;
#define WIDE_NEXT() { if (++stage == STAGES) { stage = 0; phase ^= 1; } }
    if (t.tid >= 256) {
        if (t.tid == 256) {
            for (int i = int(t.tg.x); i < tiles; i += int(t.ntg.x)) {
                int token, row;
                wide_tile(P, i, token, row, BN);
                for (int step = 0; step < steps; step++) {
                    const uint to = tiles_at + stage * STAGE_BYTES, done = full + stage * 8;
                    barrier_wait(empty + stage * 8, phase ^ 1);
                    barrier_expect(done, STAGE_BYTES);
                    bring(to, P.x, step * WIDE_COLS, token, done);
                    bring(to + TERM_BYTES, P.x, step * WIDE_COLS, P.tokens + token, done);
                    if (CLUSTER > 1) bring_all(to + 2 * TERM_BYTES + rank * PART_BYTES, P.w, step * WIDE_COLS, row + int(rank) * (BN / CLUSTER), done, (1 << CLUSTER) - 1);
                    else bring(to + 2 * TERM_BYTES, P.w, step * WIDE_COLS, row, done);
                    WIDE_NEXT()
                }
            }
        }
    } else {
        const uint mine = t.tid / 128 * (TERM_BYTES / 2);                // of a term
        const bool pairs = P.rows % 2 == 0 && ulong(out) % 8 == 0;
        E* tag = 0;
        float d[BN / 2];
        for (int i = int(t.tg.x); i < tiles; i += int(t.ntg.x)) {
            UNROLL for (int e = 0; e < BN / 2; e++) d[e] = 0;
            uint before = 0;
            for (int step = 0; step < steps; step++) {
                const uint at = tiles_at + stage * STAGE_BYTES;
                barrier_wait(full + stage * 8, phase);
                wgmma_fence();
                const ulong hi = matrix_at(at + mine), lo = matrix_at(at + TERM_BYTES + mine), b = matrix_at(at + 2 * TERM_BYTES);
                UNROLL for (int k = 0; k < WIDE_COLS / 16; k++) {            // 16 columns are 32 bytes
                    wgmma(d, hi + 2 * k, b + 2 * k, tag);
                    wgmma(d, lo + 2 * k, b + 2 * k, tag);
                }
                wgmma_commit();
                wgmma_wait<1>();                                         // the step before
                if (step > 0 && t.tid % 128 < CLUSTER) barrier_arrive(empty + before * 8, t.tid % 128);
                before = stage;
                WIDE_NEXT()
            }
            wgmma_wait<0>();
            UNROLL for (int e = 0; e < BN / 2; e++) asm volatile("" : "+f"(d[e]) :: "memory");
            if (t.tid % 128 < CLUSTER) barrier_arrive(empty + before * 8, t.tid % 128);
            int token, row;
            wide_tile(P, i, token, row, BN);
            UNROLL for (int e = 0; e < BN / 2; e += 2) {                 // as in FragC, and again for every eight rows of w
                const int m = token + int(t.tid) / 32 * 16 + int(c_row(t.lane, e % 4)), n = row + e / 4 * 8 + int(c_col(t.lane, 0));
                if (m >= P.tokens || n >= P.rows) continue;
                float* o = out + ulong(m) * P.rows + n;
                if (pairs) {
                    float2 v(d[e], d[e + 1]);
                    if (P.add) { const float2 u = *(const float2*)o; v.x += u.x; v.y += u.y; }
                    *(float2*)o = v;
                } else {
                    *o = P.add ? *o + d[e] : d[e];
                    if (n + 1 < P.rows) o[1] = P.add ? o[1] + d[e + 1] : d[e + 1];
                }
            }
        }
    }
    if (CLUSTER > 1) cluster_barrier();                                  // others may still bring tiles here, and arrive
}
#define WIDE(name, E, BN, STAGES, CLUSTER)                                                                             \
extern "C" __global__ void __launch_bounds__(384, 1) __cluster_dims__(CLUSTER, 1, 1) name(float* out, const __grid_constant__ WideParams P GRID_ARGS) { \
    __shared__ ulong barriers[2 * STAGES];                                                                             \
    wide<E, BN, STAGES, CLUSTER>(out, P, POOL, barriers, GRID);                                                        \
}
