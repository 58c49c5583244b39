// Attention of prefill.metal for heads of 128 without a soft cap, with what only Hopper has: wgmma, which reads keys and values from shared memory for
// four warps at once. Terms are those of prefill.metal.
//
// Two groups of four warps have 64 rows of queries each, both terms of them in registers. A third brings tiles of K and V to shared memory as halves,
// whatever they were stored as, STAGES of them, and says where they are in the sequence.
FN void wgmma_keys(float (&d)[32], const uint (&a)[4], ulong b) {
    asm volatile("{ .reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" PLACES_32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
        : SUMS_32(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
FN void wgmma_values(float (&d)[64], const uint (&a)[4], ulong b) {
    asm volatile("{ .reg .pred p;\nsetp.eq.u32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" PLACES_64 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1; }"
        : SUMS_64(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <int N> FN void settled(float (&d)[N]) { UNROLL for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i]) :: "memory"); }

constexpr int NO_MORE = 0x7fffffff;

template <typename F, int STAGES>
FN void attend(const float* q, const uchar* kv, const Block* blocks, float* out, float* out_m, float* out_l, const PrefillParams& P, uchar* pool, ulong* barriers, int* places, Ctx t) {
    constexpr int D = 128;
    constexpr uint HALF_BYTES = TILE * 128, TILE_BYTES = TILE * D * 2;           // half of each key of a tile, and all
    const int head = int(t.tg.y), rows = P.tokens * P.group, row0 = (int(t.ntg.x) - 1 - int(t.tg.x)) * 128;   // the longest first
    uchar* tiles = pool + (1024 - shared_address(pool) % 1024) % 1024;           // [STAGES][K, V][2][TILE] half rows, swizzled
    const uint full = shared_address(barriers), empty = full + STAGES * 8;
    if (t.tid == 0) {
        for (int i = 0; i < STAGES; i++) { barrier_init(full + i * 8, 128); barrier_init(empty + i * 8, 8); }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    uint stage = 0, phase = 0;
#define ATTEND_NEXT() { if (++stage == STAGES) { stage = 0; phase ^= 1; } }

    if (t.tid >= 256) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 104;");
        constexpr int CHUNKS = int(TILE) * D / 8 / 128;
        const int newest = P.position + (min(row0 + 128, rows) - 1) / P.group, oldest = P.position + row0 / P.group;
        uint block = 0;
        for (uint tile = 0; tile < P.tiles; tile++) {
            while (block + 1 < P.blocks && tile >= blocks[block + 1].tile) block++;
            const Block b = blocks[block];
            const int token = int((tile - b.tile) * TILE), limit = min(int(b.length), newest + 1 - b.first);
            if (token >= limit || (P.window > 0 && b.first + token + int(TILE) <= oldest + 1 - P.window)) continue;
            const uchar* k = kv + b.k + head * plane_bytes<F, D>(b.capacity);
            const uchar* v = kv + b.v + head * plane_bytes<F, D>(b.capacity);
            uchar* to = tiles + stage * 2 * TILE_BYTES;
            barrier_wait(empty + stage * 8, phase ^ 1);
            Carry<F, D> moves[2][CHUNKS];
            half* places_to[CHUNKS];
            UNROLL for (int i = 0; i < CHUNKS; i++) {
                const int at = i * 128 + int(t.tid) - 256, r = at / (D / 8), d = at % (D / 8) * 8, row = min(token + r, limit - 1);
                places_to[i] = (half*)(to + d / 64 * HALF_BYTES + swizzled(r, d % 64 * 2));
                Carry<F, D>::begin(moves[0][i], places_to[i], k, b.capacity, row, d, token + r < limit);
                Carry<F, D>::begin(moves[1][i], places_to[i] + TILE_BYTES / 2, v, b.capacity, row, d, token + r < limit);
            }
            async_commit();
            if (t.tid == 256) { places[2 * stage] = b.first + token; places[2 * stage + 1] = b.first + limit; }
            async_wait<0>();
            UNROLL for (int i = 0; i < CHUNKS; i++) {
                Carry<F, D>::end(moves[0][i], places_to[i]);
                Carry<F, D>::end(moves[1][i], places_to[i] + TILE_BYTES / 2);
            }
            asm volatile("fence.proxy.async.shared::cta;" ::: "memory");         // wgmma reads past what orders ordinary stores
            barrier_here(full + stage * 8);
            ATTEND_NEXT()
        }
        barrier_wait(empty + stage * 8, phase ^ 1);
        if (t.tid == 256) places[2 * stage] = NO_MORE;
        barrier_here(full + stage * 8);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 200;");
    const int first_row = row0 + int(t.tid) / 32 * 16;                           // of a warp
    uint hi[D / 16][4], lo[D / 16][4];                                           // queries
    UNROLL for (int i = 0; i < D / 16; i++) UNROLL for (int p = 0; p < 4; p++) {
        const int row = first_row + int(a_row(t.lane, p)), d = i * 16 + int(a_col(t.lane, p));
        float2 x(0.0f);
        if (row < rows) x = *(const float2*)(q + (ulong(row / P.group) * P.heads + head * P.group + row % P.group) * D + d);
        half e;
        split2(hi[i][p], lo[i][p], x.x * P.scale, x.y * P.scale, &e);
    }
    float o[D / 2], m[2], l[2];
    int position[2];
    UNROLL for (int i = 0; i < D / 2; i++) o[i] = 0;
    UNROLL for (int r = 0; r < 2; r++) {
        m[r] = LOWEST; l[r] = 0;
        position[r] = P.position + min(first_row + int(c_row(t.lane, r * 2)), rows - 1) / P.group;
    }
    const int row1 = row0 + int(t.tid) / 128 * 64;                               // of four warps
    const int oldest = P.position + min(row1, rows - 1) / P.group, newest = P.position + min(row1 + 63, rows - 1) / P.group;
    for (;;) {
        barrier_wait(full + stage * 8, phase);
        const int here = places[2 * stage], end = places[2 * stage + 1];
        if (here == NO_MORE) break;
        const uint k = shared_address(tiles) + stage * 2 * TILE_BYTES;
        float s[32];
        UNROLL for (int i = 0; i < 32; i++) s[i] = 0;
        wgmma_fence();
        UNROLL for (int i = 0; i < D / 16; i++) {
            const ulong b = matrix_at(k + i / 4 * HALF_BYTES + i % 4 * 32);
            wgmma_keys(s, hi[i], b);
            wgmma_keys(s, lo[i], b);
        }
        wgmma_commit();
        wgmma_wait<0>();
        settled(s);
        const bool edge = here + int(TILE) - 1 > oldest || here + int(TILE) > end || (P.window > 0 && here <= newest - P.window);
        float f[2];
        bool rises = false;
        UNROLL for (int r = 0; r < 2; r++) {
            float top = m[r];
            UNROLL for (int n = 0; n < 8; n++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++) {
                float x = s[n * 4 + e];
                if (edge) {
                    const int at = here + n * 8 + int(c_col(t.lane, e));
                    x = at <= position[r] && at < end && (P.window == 0 || at > position[r] - P.window) ? x : LOWEST;
                }
                s[n * 4 + e] = x;
                top = max(top, x);
            }
            top = row_max(top);
            f[r] = fexp2(m[r] - top);
            rises = rises || top > m[r];
            m[r] = top;
            // Where nothing was seen yet, top is LOWEST: nothing may count then.
            const float base = top > LOWEST ? top : 0.0f;
            float sum = 0;
            UNROLL for (int n = 0; n < 8; n++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++) {
                const float x = fexp2(s[n * 4 + e] - base);
                s[n * 4 + e] = x;
                sum += x;
            }
            l[r] = l[r] * f[r] + sum;
        }
        if (simd_any(rises)) UNROLL for (int i = 0; i < D / 2; i++) o[i] *= f[i / 2 % 2];
        uint p[4][4], left[4][4];                                                // the weights, and what their rounding left over
        UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < 4; i++) {
            const float x = s[j * 8 + i * 2], y = s[j * 8 + i * 2 + 1];
            p[j][i] = pair_of(x, y);
            left[j][i] = pair_of(x - pair_lo(p[j][i]), y - pair_hi(p[j][i]));
        }
        settled(o);
        wgmma_fence();
        UNROLL for (int j = 0; j < 4; j++) {
            const ulong b = matrix_at(k + TILE_BYTES + j * 16 * 128, HALF_BYTES);
            wgmma_values(o, p[j], b);
            wgmma_values(o, left[j], b);
        }
        wgmma_commit();
        wgmma_wait<0>();
        settled(o);
        if (t.lane == 0) barrier_here(empty + stage * 8);
        ATTEND_NEXT()
    }
    UNROLL for (int r = 0; r < 2; r++) {
        const int row = first_row + int(c_row(t.lane, r * 2));
        const float sum = row_sum(l[r]);
        if (row < rows) {
            const ulong to = ulong(row / P.group) * P.heads + head * P.group + row % P.group;
            const float scale = P.finish ? (sum == 0.0f ? 0.0f : fdivide(1.0f, sum)) : 1.0f;
            UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = r * 2; e < r * 2 + 2; e++)
                out[to * D + i * 8 + c_col(t.lane, e)] = o[i * 4 + e] * scale;
            if (!P.finish && c_col(t.lane, 0) == 0) { out_m[to] = sum == 0.0f ? neg_inf() : m[r] * LN2; out_l[to] = sum; }
        }
    }
}
#define ATTEND(name, F, STAGES)                                                                                        \
KERNEL(name, 384, 1)(const float* q, const uchar* kv, const Block* blocks, float* out, float* out_m, float* out_l, const PrefillParams P GRID_ARGS) { \
    __shared__ ulong barriers[2 * STAGES];                                                                             \
    __shared__ int places[2 * STAGES];                                                                                 \
    attend<F, STAGES>(q, kv, blocks, out, out_m, out_l, P, POOL, barriers, places, GRID);                              \
}
