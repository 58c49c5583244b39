// Attention of many queries over a list of blocks, on the matrix units (Dao, "FlashAttention-2", 2023, section 3.1).
//
// The query heads that share a head of keys and values are rows side by side: row = token·group + head. A group takes BM of them and all tiles
// that they see; a simdgroup takes MI·16 rows. Tiles of K and V go through threadgroup memory as halves, whatever they were stored
// as, STAGES of them, the next on its way while one is multiplied. No score leaves the registers. Queries and
// weights of values are two halves each, what rounds to one and what that leaves over, for results as exact as with floats.
template <typename F, int D, int MI, int NSG, int BK, int STAGES, bool CAP>
FN void prefill(device const float* q, device const uchar* kv, device const Block* blocks, device float* out, device float* out_m, device float* out_l,
                constant PrefillParams& P, threadgroup uchar* pool, Ctx t) {
    constexpr int LD = D + 8, BM = MI * 16 * NSG, THREADS = NSG * 32, SUBS = int(TILE) / BK;
    constexpr int PIECES = BK * D / 8, CHUNKS = (PIECES + THREADS - 1) / THREADS;   // of a tile, and of those a thread's
    constexpr bool KEEP_Q = MI == 1;                                     // in registers; else it stays in the pool
    const int head = int(t.tg.y), rows = P.tokens * P.group, row0 = (int(t.ntg.x) - 1 - int(t.tg.x)) * BM;   // the longest first
    threadgroup half* sq = (threadgroup half*)pool;
    threadgroup half* skv = KEEP_Q ? sq : sq + 2 * BM * LD;              // [STAGES][K, V][BK][LD]

    FragA<half> qa[2][KEEP_Q ? D / 16 : 1];                              // two terms of Q, one after the other through the same memory
    UNROLL for (int term = 0; term < 2; term++) {
        threadgroup half* to = KEEP_Q ? sq : sq + term * BM * LD;
        for (int i = int(t.tid); i < BM * (D / 8); i += THREADS) {
            const int r = i / (D / 8), d = i % (D / 8) * 8, row = row0 + r;
            uint x[2][4] = {{0u, 0u, 0u, 0u}, {0u, 0u, 0u, 0u}};
            if (row < rows) {
                device const float4* p = (device const float4*)(q + (ulong(row / P.group) * P.heads + head * P.group + row % P.group) * D + d);
                const float4 a = p[0], b = p[1];
                half e;
                split2(x[0][0], x[1][0], a.x * P.scale, a.y * P.scale, &e); split2(x[0][1], x[1][1], a.z * P.scale, a.w * P.scale, &e);
                split2(x[0][2], x[1][2], b.x * P.scale, b.y * P.scale, &e); split2(x[0][3], x[1][3], b.z * P.scale, b.w * P.scale, &e);
            }
            *(threadgroup uint4*)(to + r * LD + d) = uint4(x[term][0], x[term][1], x[term][2], x[term][3]);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (KEEP_Q) {
            UNROLL for (int i = 0; i < D / 16; i++) load_a(qa[term][KEEP_Q ? i : 0], sq + t.sg * 16 * LD + i * 16, LD, t.lane);
            threadgroup_barrier(mem_flags::mem_threadgroup);
        }
    }
    FragC o[MI][D / 8];
    float m[MI][2], l[MI][2];
    int position[MI][2];
    UNROLL for (int a = 0; a < MI; a++) {
        UNROLL for (int i = 0; i < D / 8; i++) c_zero(o[a][i]);
        UNROLL for (int r = 0; r < 2; r++) {
            m[a][r] = LOWEST; l[a][r] = 0;
            position[a][r] = P.position + min(row0 + int(t.sg) * MI * 16 + a * 16 + int(c_row(t.lane, r * 2)), rows - 1) / P.group;
        }
    }
    const int newest = P.position + min(row0 + BM, rows) / P.group - (min(row0 + BM, rows) % P.group == 0 ? 1 : 0), oldest = P.position + row0 / P.group;

    // The steps of the loop: parts of BK keys of the tiles that the group sees. at is the next to fetch.
    uint block = 0, tile = 0, sub = 0;
    int token = 0, limit = 0, first = 0;
    ulong k0 = 0, v0 = 0;
    uint capacity = 0;
    Carry<F, D> moves[2][CHUNKS];
    bool fetching = P.blocks > 0;
    // Goes to the next part with a key that is seen; false if there is none.
#define PREFILL_SEEK()                                                                                                 \
    for (; fetching;) {                                                                                                \
        if (tile >= P.tiles) { fetching = false; break; }                                                              \
        while (block + 1 < P.blocks && tile >= blocks[block + 1].tile) block++;                                        \
        const Block b = blocks[block];                                                                                 \
        token = int((tile - b.tile) * TILE + sub * BK); first = b.first; capacity = b.capacity;                        \
        limit = min(int(b.length), newest + 1 - first);                                                                \
        k0 = b.k + head * plane_bytes<F, D>(capacity); v0 = b.v + head * plane_bytes<F, D>(capacity);                  \
        if (token < limit && (P.window == 0 || first + token + BK > oldest + 1 - P.window)) break;                     \
        PREFILL_STEP()                                                                                                 \
    }
#define PREFILL_STEP() { sub++; if (sub == uint(SUBS)) { sub = 0; tile++; } }
#define PREFILL_FETCH(stage, row, valid)                                                                               \
        UNROLL for (int i = 0; i < CHUNKS; i++) {                                                                      \
            const int at = i * THREADS + int(t.tid), r = at / (D / 8), d = at % (D / 8) * 8;                           \
            threadgroup half* to = skv + (stage) * 2 * BK * LD + r * LD + d;                                           \
            if (PIECES % THREADS == 0 || at < PIECES) {                                                                \
                Carry<F, D>::begin(moves[0][i], to, kv + k0, capacity, uint(row), uint(d), valid);                     \
                Carry<F, D>::begin(moves[1][i], to + BK * LD, kv + v0, capacity, uint(row), uint(d), valid);           \
            }                                                                                                          \
        }
#define PREFILL_BEGIN(stage)                                                                                           \
    if (fetching) {                                                                                                    \
        if (token + BK <= limit) { PREFILL_FETCH(stage, token + r, true) }                                             \
        else { PREFILL_FETCH(stage, min(token + r, limit - 1), token + r < limit) }                                    \
    }                                                                                                                  \
    async_commit();
#define PREFILL_END(stage)                                                                                             \
        UNROLL for (int i = 0; i < CHUNKS; i++) {                                                                      \
            const int at = i * THREADS + int(t.tid), r = at / (D / 8), d = at % (D / 8) * 8;                           \
            if (PIECES % THREADS == 0 || at < PIECES) {                                                                \
                Carry<F, D>::end(moves[0][i], skv + (stage) * 2 * BK * LD + r * LD + d);                               \
                Carry<F, D>::end(moves[1][i], skv + ((stage) * 2 + 1) * BK * LD + r * LD + d);                         \
            }                                                                                                          \
        }

    PREFILL_SEEK()
    bool have = fetching;
    int stage = 0;
    if (have) { PREFILL_BEGIN(0) PREFILL_END(0) }
    while (have) {
        const int here = first + token, end = first + limit;             // positions of this part's keys
        if (STAGES > 1) {
            PREFILL_STEP()
            PREFILL_SEEK()
        }
        async_wait<0>();
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const bool next = STAGES > 1 && fetching;
        if (STAGES > 1) { PREFILL_BEGIN(stage ^ 1) }
        threadgroup const half* sk = skv + stage * 2 * BK * LD;
        threadgroup const half* sv = sk + BK * LD;

        const bool edge = here + BK - 1 > oldest || here + BK > end || (P.window > 0 && here <= newest - P.window);
        FragC s[MI][BK / 8];
        UNROLL for (int a = 0; a < MI; a++) UNROLL for (int n = 0; n < BK / 8; n++) c_zero(s[a][n]);
        UNROLL for (int i = 0; i < D / 16; i++) {
            FragA<half> qf[2][MI];
            if (!KEEP_Q) UNROLL for (int e = 0; e < 2; e++) UNROLL for (int a = 0; a < MI; a++) load_a(qf[e][a], sq + (e * BM + (t.sg * MI + a) * 16) * LD + i * 16, LD, t.lane);
            UNROLL for (int n = 0; n < BK / 8; n += 2) {
                FragB<half> b, d;
                load_b2_nk(b, d, sk + n * 8 * LD + i * 16, LD, t.lane);
                UNROLL for (int e = 0; e < 2; e++) UNROLL for (int a = 0; a < MI; a++) {
                    if (KEEP_Q) { mma(s[a][n], qa[e][KEEP_Q ? i : 0], b); mma(s[a][n + 1], qa[e][KEEP_Q ? i : 0], d); }
                    else { mma(s[a][n], qf[e][a], b); mma(s[a][n + 1], qf[e][a], d); }
                }
            }
        }
        float f[MI][2];
        bool rises = false;
        UNROLL for (int a = 0; a < MI; a++) UNROLL for (int r = 0; r < 2; r++) {
            float top = m[a][r];
            UNROLL for (int n = 0; n < BK / 8; n++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++) {
                float x = c_get(s[a][n], e);
                if (CAP) x = P.cap * ftanh(x * P.rcp_cap);
                if (edge) {
                    const int at = here + n * 8 + int(c_col(t.lane, e));
                    x = at <= position[a][r] && at < end && (P.window == 0 || at > position[a][r] - P.window) ? x : LOWEST;
                }
                c_set(s[a][n], e, x);
                top = max(top, x);
            }
            top = row_max(top);
            f[a][r] = fexp2(m[a][r] - top);
            rises = rises || top > m[a][r];
            m[a][r] = top;
            // Where nothing was seen yet, top is LOWEST: nothing may count then.
            const float base = top > LOWEST ? top : 0.0f;
            float sum = 0;
            UNROLL for (int n = 0; n < BK / 8; n++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++) {
                const float x = fexp2(c_get(s[a][n], e) - base);
                c_set(s[a][n], e, x);
                sum += x;
            }
            l[a][r] = l[a][r] * f[a][r] + sum;
        }
        if (simd_any(rises))
            UNROLL for (int a = 0; a < MI; a++) UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = 0; e < 4; e++) c_set(o[a][i], e, c_get(o[a][i], e) * f[a][e >> 1]);
        UNROLL for (int j = 0; j < BK / 16; j++) {
            FragA<half> p[MI], left[MI];                                 // the weights, and what their rounding left over
            UNROLL for (int a = 0; a < MI; a++) a_from_c(p[a], left[a], s[a][2 * j], s[a][2 * j + 1]);
            UNROLL for (int i = 0; i < D / 8; i += 2) {
                FragB<half> b, d;
                load_b2_kn(b, d, sv + j * 16 * LD + i * 8, LD, t.lane);
                UNROLL for (int a = 0; a < MI; a++) { mma(o[a][i], p[a], b); mma(o[a][i + 1], p[a], d); }
                UNROLL for (int a = 0; a < MI; a++) { mma(o[a][i], left[a], b); mma(o[a][i + 1], left[a], d); }
            }
        }
        if (STAGES > 1) {
            if (next) { PREFILL_END(stage ^ 1) }
            stage ^= 1;
            have = next;
        } else {
            PREFILL_STEP()
            PREFILL_SEEK()
            have = fetching;
            threadgroup_barrier(mem_flags::mem_threadgroup);
            if (have) { PREFILL_BEGIN(0) PREFILL_END(0) }
        }
    }
    UNROLL for (int a = 0; a < MI; a++) UNROLL for (int r = 0; r < 2; r++) {
        const int row = row0 + int(t.sg) * MI * 16 + a * 16 + int(c_row(t.lane, r * 2));
        const float sum = row_sum(l[a][r]);
        if (row < rows) {
            const ulong to = ulong(row / P.group) * P.heads + head * P.group + row % P.group;
            const float scale = P.finish ? (sum == 0.0f ? 0.0f : fdivide(1.0f, sum)) : 1.0f;
            UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++)
                out[to * D + i * 8 + c_col(t.lane, e)] = c_get(o[a][i], e) * scale;
            if (!P.finish && c_col(t.lane, 0) == 0) { out_m[to] = sum == 0.0f ? neg_inf() : m[a][r] * LN2; out_l[to] = sum; }
        }
    }
}
#define PREFILL(name, F, D, MI, NSG, BK, STAGES, GROUPS, CAP)                                                          \
KERNEL(name, NSG * 32, GROUPS)(BUF(0, const float, q), BUF(1, const uchar, kv), BUF(2, const Block, blocks), BUF(3, float, out), BUF(4, float, out_m), BUF(5, float, out_l), \
             ARG(6, PrefillParams, P) GRID_ARGS) {                                                                     \
    prefill<F, D, MI, NSG, BK, STAGES, CAP>(q, kv, blocks, out, out_m, out_l, P, POOL, GRID);                          \
}
