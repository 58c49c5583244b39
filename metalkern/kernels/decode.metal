// Attention of a few queries over a list of blocks, on the matrix units, straight from the blocks to registers.
//
// A group takes one query, one head of keys and values with all query heads that share it, and one split of the
// tiles. Its simdgroups take tiles in turn. S[heads][16 keys] = Q·Kᵀ and O[heads][D] += P·V are 16×8×16 steps, whose B is made of 16-byte
// loads of rows (fragments_cuda.h says how), so every byte of K and V is read once, by one lane, without threadgroup memory.
//
// Halves alone would round q and p to 11 bits. With at most 8 heads the other 8 rows of A hold the remainders, q - half(q) and p -
// half(p), so nothing is lost, at no cost; with 9 to 16 heads there are two steps for each.
//
// Scores are in base 2. p is 2^(s-m+SHIFT): halves have more room above 1 than below.
struct DecodeParams {
    int   heads, kv_heads, group;         // query heads, key-value heads, and their quotient
    int   splits;
    uint  tiles;                          // of a split
    float scale;                          // on q·k, times log2 e
    float cap, rcp_cap;                   // soft cap, times log2 e, and its reciprocal
    int   window;                         // positions that a query sees, its own included, or 0 for all
};
// A query: its blocks are blocks[begin], …, in tiles tiles.
struct Query { uint begin, count, tiles; int position; };

constexpr constant float SHIFT = 12.0f;

// The keys that a simdgroup looks at next.
struct Cursor {
    uint tile, end, block_end;            // of the split and of the block, in tiles
    uint block, last;                     // in the table
    uint begin;                           // tile of the block's first key
    int  token, first, limit, lowest;     // in the block: keys [lowest, limit) are seen
    ulong k, v, scales;                   // bytes to the planes of the head, and from there to their scales
};
template <typename F, int D> FN void enter(thread Cursor& c, device const Block* blocks, uint head, int position, int window) {
    const Block b = blocks[c.block];
    const ulong plane = head * plane_bytes<F, D>(b.capacity);
    c.k = b.k + plane; c.v = b.v + plane; c.scales = scales_at<F, D>(b.capacity); c.first = b.first; c.begin = b.tile;
    c.limit = max(0, min(int(b.length), position + 1 - b.first));
    c.lowest = window > 0 ? position + 1 - window - b.first : 0;
    c.block_end = b.tile + (b.length + TILE - 1) / TILE;
}
// Goes to the first key of c.tile or, if no key there is seen, of the next of the simdgroup's tiles that has one.
template <typename F, int D> FN bool settle(thread Cursor& c, device const Block* blocks, uint head, int position, int window, uint step) {
    for (; c.tile < c.end; c.tile += step) {
        while (c.tile >= c.block_end && c.block + 1 < c.last) { c.block++; enter<F, D>(c, blocks, head, position, window); }
        c.token = int((c.tile - c.begin) * TILE);
        if (c.token < c.limit && c.token + int(TILE) > c.lowest) return true;
    }
    return false;
}
template <typename F, int D, int KEYS> FN bool advance(thread Cursor& c, device const Block* blocks, uint head, int position, int window, uint step) {
    c.token += KEYS;
    if (c.token < c.limit && uint(c.token) % TILE != 0) return true;
    c.tile += step;
    return settle<F, D>(c, blocks, head, position, window, step);
}

// Fetch what a lane has of the keys of a step, and of its values. Behind the last key that is seen it is taken again.
template <typename Keys, int N> FN void fetch_keys(thread Keys* keys, device const uchar* plane, thread const Cursor& c, uint lane) {
    if (c.token + N * 8 <= c.limit) {
        UNROLL for (int j = 0; j < KEY_ROWS; j++) {
            const uint token = uint(c.token) + key_row(lane, j);
            UNROLL for (int i = 0; i < N; i++) Keys::row(keys[i], j, plane, c.scales, token, i * 8, key_part(lane));
        }
    } else {
        UNROLL for (int i = 0; i < N; i++) UNROLL for (int j = 0; j < KEY_ROWS; j++)
            Keys::row(keys[i], j, plane, c.scales, uint(min(c.token + i * 8 + int(key_row(lane, j)), c.limit - 1)), 0, key_part(lane));
    }
}
template <typename Values, int N> FN void fetch_values(thread Values* values, device const uchar* plane, thread const Cursor& c, uint lane) {
    if (c.token + N * 16 <= c.limit) {
        const uint token = uint(c.token) + value_row(lane, 0);
        UNROLL for (int i = 0; i < N; i++) UNROLL for (int j = 0; j < VALUE_ROWS; j++)
            Values::row(values[i], j, plane, c.scales, token, i * 16 + int(value_row(0, j)), value_part(lane));
    } else {
        UNROLL for (int i = 0; i < N; i++) UNROLL for (int j = 0; j < VALUE_ROWS; j++)
            Values::row(values[i], j, plane, c.scales, uint(min(c.token + i * 16 + int(value_row(lane, j)), c.limit - 1)), 0, value_part(lane));
    }
}

// ROWS: 8 or 16, at least the heads of the group. KEYS: of a step, a multiple of 16 that divides TILE. CAP: whether scores have a soft cap.
template <typename F, int D, int ROWS, int KEYS, int NSG, bool CAP>
FN void decode(device const float* q, device const uchar* kv, device const Block* blocks, device const Query* queries,
               device float* out, device float* out_m, device float* out_l, constant DecodeParams& P,
               threadgroup float* sh_o, threadgroup float2* sh_ml, Ctx t) {
    constexpr int LANE_ROWS = ROWS / 8, FRAGS = D / 16, TILES = D / 8, SUB = KEYS / 16;
    typedef Fetched<F, D, KEY_LANES, KEY_ROWS> Keys;
    typedef Fetched<F, D, VALUE_LANES, VALUE_ROWS> Values;
    const uint head = t.tg.x, split = t.tg.y, row = t.tg.z, lane = t.lane;
    const Query query = queries[row];

    FragA<half> qa[FRAGS], ql[ROWS == 16 ? FRAGS : 1];
    device const float* q0 = q + (ulong(row) * P.heads + head * P.group) * D;
    constexpr int PER = KEY_LANES * Keys::C::W / 16;                     // fragments of a chunk
    UNROLL for (int f = 0; f < FRAGS; f++) UNROLL for (int p = 0; p < 4; p++) {
        const uint r = a_row(lane, p) % ROWS, at = f / PER * (KEY_LANES * Keys::C::W), k = a_col(lane, p);
        const uint d0 = at + key_dim<Keys::C::W>(f % PER, k), d1 = at + key_dim<Keys::C::W>(f % PER, k + 1);
        const bool have = int(r) < P.group;
        const float x = have ? q0[r * D + d0] * P.scale : 0.0f, y = have ? q0[r * D + d1] * P.scale : 0.0f;
        const float x1 = x - float(half(x)), y1 = y - float(half(y));
        if (ROWS == 16) { a_pair(qa[f], p, x, y); a_pair(ql[ROWS == 16 ? f : 0], p, x1, y1); }
        else a_pair(qa[f], p, p & 1 ? x1 : x, p & 1 ? y1 : y);
    }
    FragC o[TILES];
    UNROLL for (int i = 0; i < TILES; i++) c_zero(o[i]);
    float m[LANE_ROWS], l[LANE_ROWS];
    UNROLL for (int r = 0; r < LANE_ROWS; r++) { m[r] = LOWEST; l[r] = 0; }

    Cursor c;
    c.end = min((split + 1) * P.tiles, query.tiles);
    c.tile = split * P.tiles + t.sg;
    c.block = query.begin; c.last = query.begin + query.count; c.block_end = 0; c.begin = 0; c.limit = 0;
    if (c.tile < c.end) {                                                // the last block that begins at or before the tile
        uint low = query.begin, high = c.last;
        while (high - low > 1) { const uint mid = (low + high) / 2; if (blocks[mid].tile <= c.tile) low = mid; else high = mid; }
        c.block = low;
        enter<F, D>(c, blocks, head, query.position, P.window);
    }
    bool more = settle<F, D>(c, blocks, head, query.position, P.window, NSG);

    Keys keys[SUB * 2];
    Values values[SUB];
    if (more) fetch_keys<Keys, SUB * 2>(keys, kv + c.k, c, lane);
    while (more) {
        fetch_values<Values, SUB>(values, kv + c.v, c, lane);
        FragC s[SUB * 2];
        UNROLL for (int i = 0; i < SUB * 2; i++) c_zero(s[i]);
        UNROLL for (int j = 0; j < Keys::C::COUNT; j++) {
            uint x[SUB * 2][KEY_ROWS * Keys::C::W / 2];
            UNROLL for (int i = 0; i < SUB * 2; i++) UNROLL for (int r = 0; r < KEY_ROWS; r++) Keys::pairs(keys[i], r, j, x[i] + r * (Keys::C::W / 2));
            UNROLL for (int f = 0; f < PER; f++) UNROLL for (int i = 0; i < SUB * 2; i++) { // steps of one sum wait for one another, those of several do not
                FragB<half> b;
                key_fragment<Keys::C::W>(b, f, x[i]);
                mma(s[i], qa[j * PER + f], b);
                if (ROWS == 16) mma(s[i], ql[ROWS == 16 ? j * PER + f : 0], b);
            }
        }
        const int token = c.token, limit = c.limit, lowest = c.lowest;
        more = advance<F, D, KEYS>(c, blocks, head, query.position, P.window, NSG);
        if (more) fetch_keys<Keys, SUB * 2>(keys, kv + c.k, c, lane);
        float x[LANE_ROWS][SUB * 4], f[LANE_ROWS];                       // a row's keys of this lane
        bool rises = false;
        UNROLL for (int r = 0; r < LANE_ROWS; r++) {
            float top = m[r];
            UNROLL for (int i = 0; i < SUB * 4; i++) {
                const int e = r * 2 + (i & 1);
                const int at = token + i / 2 * 8 + int(c_col(lane, e));
                float v = ROWS == 16 ? c_get(s[i / 2], e) : c_get(s[i / 2], e) + c_get(s[i / 2], (e + 2) & 3);
                if (CAP) v = P.cap * ftanh(v * P.rcp_cap);
                x[r][i] = at < limit && at >= lowest ? v : LOWEST;
                top = max(top, x[r][i]);
            }
            top = row_max(top);
            f[r] = fexp2(m[r] - top);
            rises = rises || top > m[r];
            m[r] = top;
            float sum = 0;
            UNROLL for (int i = 0; i < SUB * 4; i++) {
                x[r][i] = x[r][i] == LOWEST ? 0.0f : fexp2(x[r][i] - top + SHIFT);    // NaN stays
                sum += x[r][i];
            }
            l[r] = l[r] * f[r] + sum;
        }
        if (simd_any(rises))
            UNROLL for (int i = 0; i < TILES; i++) UNROLL for (int e = 0; e < 4; e++) c_set(o[i], e, c_get(o[i], e) * f[ROWS == 16 ? e >> 1 : 0]);
        UNROLL for (int i = 0; i < SUB; i++) {
            FragA<half> pa, pl;
            UNROLL for (int p = 0; p < 4; p++) {
                const int r = ROWS == 16 ? p & 1 : 0, at = i * 4 + (p >> 1) * 2;
                const float u = x[r][at], v = x[r][at + 1];
                const float u1 = u - float(half(u)), v1 = v - float(half(v));
                if (ROWS == 16) { a_pair(pa, p, u, v); a_pair(pl, p, u1, v1); }
                else a_pair(pa, p, p & 1 ? u1 : u, p & 1 ? v1 : v);
            }
            constexpr int PER_CHUNK = VALUE_LANES * Values::C::W / 8;
            UNROLL for (int j = 0; j < Values::C::COUNT; j++) {
                uint w[VALUE_ROWS * Values::C::W / 2];
                UNROLL for (int r = 0; r < VALUE_ROWS; r++) Values::pairs(values[i], r, j, w + r * (Values::C::W / 2));
                UNROLL for (int n = 0; n < PER_CHUNK; n++) {
                    FragB<half> b;
                    value_fragment<Values::C::W>(b, n, w);
                    mma(o[j * PER_CHUNK + n], pa, b);
                    if (ROWS == 16) mma(o[j * PER_CHUNK + n], pl, b);
                }
            }
        }
    }

    // One after the other the simdgroups add their part to the group's.
    constexpr int PER_CHUNK = VALUE_LANES * Values::C::W / 8;
    UNROLL for (int r = 0; r < LANE_ROWS; r++) {
        l[r] = row_sum(l[r]);
        if (c_col(lane, 0) == 0) sh_ml[t.sg * ROWS + c_row(lane, r * 2)] = float2(m[r], l[r]);
    }
    for (uint i = t.tid; i < ROWS * D; i += NSG * 32) sh_o[i] = 0;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float f[LANE_ROWS];
    UNROLL for (int r = 0; r < LANE_ROWS; r++) {
        float top = LOWEST;
        UNROLL for (int g = 0; g < NSG; g++) top = max(top, sh_ml[g * ROWS + c_row(lane, r * 2)].x);
        f[r] = fexp2(m[r] - top - SHIFT);
    }
    for (uint g = 0; g < NSG; g++) {
        if (t.sg == g)
            UNROLL for (int i = 0; i < TILES; i++) UNROLL for (int e = 0; e < LANE_ROWS * 2; e++) {
                const float v = ROWS == 16 ? c_get(o[i], e) : c_get(o[i], e) + c_get(o[i], (e + 2) & 3);
                const uint d = i / PER_CHUNK * (VALUE_LANES * Values::C::W) + value_dim<Values::C::W>(i % PER_CHUNK, c_col(lane, e));
                sh_o[c_row(lane, e) * D + d] += v * f[ROWS == 16 ? e >> 1 : 0];
            }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    const ulong at = (ulong(split) * t.ntg.z + row) * P.heads + head * P.group;
    for (uint i = t.tid; i < uint(P.group) * D; i += NSG * 32) out[at * D + i] = sh_o[i];
    if (t.tid < uint(P.group)) {
        float top = LOWEST, sum = 0;
        for (int g = 0; g < NSG; g++) top = max(top, sh_ml[g * ROWS + t.tid].x);
        for (int g = 0; g < NSG; g++) sum += sh_ml[g * ROWS + t.tid].y * fexp2(sh_ml[g * ROWS + t.tid].x - top - SHIFT);
        out_m[at + t.tid] = sum == 0.0f ? neg_inf() : top * LN2;
        out_l[at + t.tid] = sum;
    }
}

// out, out_m, out_l: partials [splits][queries][heads]([D]), natural logarithms.
#define DECODE(name, F, D, ROWS, KEYS, NSG, GROUPS, CAP)                                                                \
KERNEL(name, NSG * 32, GROUPS)(BUF(0, const float, q), BUF(1, const uchar, kv), BUF(2, const Block, blocks), BUF(3, const Query, queries), \
             BUF(4, float, out), BUF(5, float, out_m), BUF(6, float, out_l), ARG(7, DecodeParams, P) GRID_ARGS) {      \
    SHARED(float, sh_o, ROWS * D); SHARED(float2, sh_ml, NSG * ROWS);                                                  \
    decode<F, D, ROWS, KEYS, NSG, CAP>(q, kv, blocks, queries, out, out_m, out_l, P, sh_o, sh_ml, GRID);                    \
}
