// Attention of decode.metal for heads of 64 and 128 without a soft cap and up to 8 query heads to a key-value head, for GPUs that copy to threadgroup memory on
// their own: each simdgroup keeps DEPTH steps of 32 keys on their way, whatever registers it has left, and takes steps that follow one another.
//
// ldmatrix hands out what it reads in units of 16 bytes, which is how keys and values become fragments without a permutation: of a key's row a lane gets one word of each
// unit; of values, transposed, the same half-word of two keys' rows, so what is in it are pairs of the same element of both.
//
// Scales are not multiplied with elements. A step's sums over the 32 elements of a scale are multiplied with it, and for values the
// weight of each key is, once for each scale, as two terms again. So an element of q4 costs a mask as a key, since halves below 2^-13 are whole numbers times 2^-24,
// and a mask and a subtraction as a value. What is subtracted from a key's elements is what sums begin with.
//
// Halves end at 65,504. So each query is multiplied with a power of two that brings its largest element to 2^14 or more, and scores are in units of what that makes
// of 1. Weights times scales stay halves for values of up to 8,000, as SHIFT is chosen; where they do not, all is computed once more without it.
struct StagedParams {
    int heads, group;
    float scale;                          // on q·k, times log2 e
    int window;                           // as in DecodeParams
};
struct Query { uint begin, count, tiles; int position; };

constexpr int STEP_KEYS = 32;

// pair_keep: of a word's bits, some of them turned over, those of a mask. larger: of two, or the one that is a number.
#if defined(DIALECT_CPP)
FN uint pair_keep(uint w, uint flip, uint mask) { return (w ^ flip) & mask; }
FN float larger(float a, float b) { return __builtin_fmaxf(a, b); }
FN float magnitude(float x) { return __builtin_fabsf(x); }
typedef uchar* Place;                                // in threadgroup memory
FN Place place_of(uchar* p) { return p; }
FN uint pair_fma(uint a, uint b, uint c) { return pair_of(pair_lo(a) * pair_lo(b) + pair_lo(c), pair_hi(a) * pair_hi(b) + pair_hi(c)); }
FN uint pair_less(uint a, uint b, uint c) { return pair_of(pair_lo(a) * pair_lo(b) - pair_lo(c), pair_hi(a) * pair_hi(b) - pair_hi(c)); }
FN uint4 load16(Place p) { uint4 v; memcpy(&v, p, 16); return v; }
FN uint2 load8(Place p) { uint2 v; memcpy(&v, p, 8); return v; }
FN void copy16(Place p, const uchar* src, bool valid) { async_copy16(p, src, valid); }
FN void mma(FragC& d, const FragA<half>& a, const FragB<half>& b, const FragC& c) { d = c; mma(d, a, b); }
// Four matrices of eight rows of 16 bytes: lane 8m + i says where row i of matrix m lies, and gets word lane % 4 of row lane / 4 of each.
FN void load_rows(uint (&r)[4], Place base, uint offset, uint lane) {
    for (uint m = 0; m < 4; m++) memcpy(&r[m], base + simd_shuffle(offset, ushort(m * 8 + lane / 4)) + lane % 4 * 4, 4);
    emu::arrive(emu::LOAD);
}
// The same transposed: a lane gets half-word lane / 4 of rows 2·(lane % 4) and the one after it.
FN void load_columns(uint (&r)[4], Place base, uint offset, uint lane) {
    for (uint m = 0; m < 4; m++) {
        ushort x[2];
        for (uint i = 0; i < 2; i++) memcpy(&x[i], base + simd_shuffle(offset, ushort(m * 8 + lane % 4 * 2 + i)) + lane / 4 * 2, 2);
        r[m] = uint(x[0]) | uint(x[1]) << 16;
    }
    emu::arrive(emu::LOAD);
}
#else
FN float larger(float a, float b) { float r; asm("max.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
FN float magnitude(float x) { float r; asm("abs.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
FN uint pair_keep(uint w, uint flip, uint mask) { uint r; asm("lop3.b32 %0, %1, %2, %3, 0x28;" : "=r"(r) : "r"(w), "r"(flip), "r"(mask)); return r; }
typedef uint Place;
FN Place place_of(uchar* p) { return shared_address(p); }
FN uint pair_fma(uint a, uint b, uint c) { uint r; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
FN uint pair_less(uint a, uint b, uint c) { uint r; asm("{ .reg .b32 n;\nneg.f16x2 n, %3;\nfma.rn.f16x2 %0, %1, %2, n; }" : "=r"(r) : "r"(a), "r"(b), "r"(c)); return r; }
FN uint4 load16(Place p) { uint4 v; asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(p) : "memory"); return v; }
FN uint2 load8(Place p) { uint2 v; asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(p) : "memory"); return v; }
FN void copy16(Place p, const uchar* src, bool valid) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(p), "l"(src), "r"(valid ? 16 : 0) : "memory"); }
FN void mma(FragC& d, const FragA<half>& a, const FragB<half>& b, const FragC& c) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d.e[0]), "=f"(d.e[1]), "=f"(d.e[2]), "=f"(d.e[3]) : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]),
          "f"(c.e[0]), "f"(c.e[1]), "f"(c.e[2]), "f"(c.e[3]));
}
FN void load_rows(uint (&r)[4], Place base, uint offset, uint) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(base + offset) : "memory");
}
FN void load_columns(uint (&r)[4], Place base, uint offset, uint) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(base + offset) : "memory");
}
#endif

// What a format makes of words. Matrix step f of a key has elements key(f, lane % 4, p, e), p being the half of the
// step's 16 and e the place in a pair; column of fragment n of the values is element value(n, column). UP is what elements are multiplied with besides, in fragments with odd p, n.
// SHIFT is as in decode.metal.
template <typename F> struct Staged;
template <> struct Staged<Q4> {
    static constexpr int FRAGS = 4;                  // fragments that a unit, 16 bytes, of values makes
    static constexpr float ZERO = 8, UP = 16, SHIFT = 6;
    FN static int key(int f, int part, int p, int e) { return f / 2 * 32 + part * 8 + f % 2 * 4 + p * 2 + e; }
    FN static void keys(FragB<half>& b, int f, const uint* r) {
        const uint w = f % 2 ? r[f / 2] >> 8 : r[f / 2];
        b.r[0] = w & 0x000f000fu; b.r[1] = w & 0x00f000f0u;
    }
    FN static int value(int n, int column) { return n / 4 * 32 + column / 2 * 8 + n % 4 * 2 + column % 2; }
    FN static uint values(uint r, int n) {
        const uint w = n & 2 ? r >> 8 : r;
        return n & 1 ? pair_sub(and_or(w, 0x00f000f0u, 0x64006400u), 0x64806480u) : pair_sub(and_or(w, 0x000f000fu, 0x64006400u), 0x64086408u);
    }
};
template <> struct Staged<Q8> {
    static constexpr int FRAGS = 2;
    static constexpr float ZERO = 128, UP = 1, SHIFT = 10;
    FN static int key(int f, int part, int p, int e) { return f * 16 + part * 4 + p + 2 * e; }
    FN static void keys(FragB<half>& b, int f, const uint* r) {
        b.r[0] = pair_keep(r[f], 0x80808080u, 0x00ff00ffu); b.r[1] = pair_keep(r[f] >> 8, 0x80808080u, 0x00ff00ffu);
    }
    FN static int value(int n, int column) { return n / 2 * 16 + column * 2 + n % 2; }
    FN static uint values(uint r, int n) { return pair_sub(pair_keep(n & 1 ? r >> 8 : r, 0x00800080u, 0x00ff00ffu) | 0x64006400u, 0x64806480u); }
};
template <> struct Staged<F16> {
    static constexpr int FRAGS = 1;
    static constexpr float ZERO = 0, UP = 1, SHIFT = 12;
    FN static int key(int f, int part, int p, int e) { return f * 16 + p * 8 + part * 2 + e; }
    FN static void keys(FragB<half>& b, int f, const uint* r) { b.r[0] = r[2 * f]; b.r[1] = r[2 * f + 1]; }
    FN static int value(int n, int column) { return n * 8 + column; }
    FN static uint values(uint r, int) { return r; }
};

// The scales of two keys, one behind the other, two to a word.
template <int WORDS> struct Scales {
    uint of[2][WORDS];
    FN void load(Place p) {
        if (WORDS == 2) { const uint4 w = load16(p); of[0][0] = w.x; of[0][WORDS - 1] = w.y; of[1][0] = w.z; of[1][WORDS - 1] = w.w; }
        else { const uint2 w = load8(p); of[0][0] = w.x; of[1][0] = w.y; }
    }
    FN void clear(int key) { UNROLL for (int i = 0; i < WORDS; i++) of[key][i] = 0; }
    FN float scale(int key, int i) const { return i & 1 ? pair_hi(of[key][i / 2]) : pair_lo(of[key][i / 2]); }
    FN uint both(int i) const { return i & 1 ? zip_hi(of[0][i / 2], of[1][i / 2]) : zip_lo(of[0][i / 2], of[1][i / 2]); }
};

// The steps of a simdgroup that are still to be asked for, and the block that the next is in.
template <typename F, int D> struct Feed {
    static constexpr int ROW = D * F::BITS / 8, UNITS = ROW / 16, SCALES = F::BITS == 16 ? 0 : D / 16;             // bytes of a key, in units of 16, and of its scales
    static constexpr int PLANE = STEP_KEYS * ROW, STAGE = 2 * (PLANE + STEP_KEYS * SCALES);
    const uchar *kv, *k, *v, *ks, *vs;
    const Block* blocks;
    uint head, block, last, at, end, begin_block, end_block;
    int position, window, limit, lowest;

    // Where unit u of a key lies in a stage's plane: eight keys' same unit lies in eight different places modulo 128 bytes, as ldmatrix wants.
    FN static uint place(uint key, uint u) { return key * ROW + (u ^ (UNITS < 8 ? key / (8 / (UNITS < 8 ? UNITS : 8)) % UNITS : key % 8)) * 16; }

    FN void enter() {
        const Block b = blocks[block];
        const ulong plane = head * plane_bytes<F, D>(b.capacity);
        k = kv + b.k + plane; v = kv + b.v + plane;
        ks = k + scales_at<F, D>(b.capacity); vs = v + scales_at<F, D>(b.capacity);
        begin_block = b.tile * (TILE / STEP_KEYS); end_block = begin_block + (b.length + TILE - 1) / TILE * (TILE / STEP_KEYS);
        limit = max(0, min(int(b.length), position + 1 - b.first));
        lowest = position + 1 - window - b.first;
    }

    // Finds the block of the first step, the last that begins at or before it.
    FN void find(const Query& query, uint lane) {
        uint low = query.begin, high = last;
        const uint tile = at / (TILE / STEP_KEYS);
        while (high - low > 1) {
            const uint stride = (high - low + 31) / 32, i = low + lane * stride;
            low += uint(simd_max(i < high && blocks[min(i, high - 1)].tile <= tile ? float(lane) : 0.0f)) * stride;
            high = min(high, low + stride);
        }
        block = low;
        enter();
    }

    // Asks for the next step that has a key, and says whether there was one. places are the first key of it that is seen, and the one behind the last.
    FN bool ask(Place to, int* places, uint lane) {
        int token = 0;
        bool have = false;
        while (at < end && !have) {
            while (at >= end_block && block + 1 < last) { block++; enter(); }
            token = int((at - begin_block) * STEP_KEYS);
            have = token < limit && token + STEP_KEYS > lowest;
            at++;
        }
        if (have) {
            const int n = min(limit - token, STEP_KEYS);
            const uchar *from = k + ulong(uint(token)) * ROW + lane * 16, *other = v + ulong(uint(token)) * ROW + lane * 16;
            const uint first = place(lane / UNITS, lane % UNITS);
            UNROLL for (int i = 0; i < UNITS; i++) {
                const Place here = to + ((first ^ (UNITS < 8 ? 0 : i * (32 / UNITS) % 8 * 16)) + i * 512);
                const bool valid = i * (32 / UNITS) + int(lane / UNITS) < n;
                copy16(here, from + i * 512, valid);
                copy16(here + PLANE, other + i * 512, valid);
            }
            if (SCALES > 0) {
                constexpr int UNIT = 16 / (SCALES > 0 ? SCALES : 16), LANES = STEP_KEYS / UNIT;    // keys whose scales are a unit, and lanes that copy those of a step
                const uint key = lane % LANES * UNIT;
                if (lane < 2 * LANES) copy16(to + (2 * PLANE + lane * 16), (lane < LANES ? ks : vs) + ulong(uint(token) + key) * SCALES, int(key) < n);
            }
            if (lane == 0) { places[0] = lowest - token; places[1] = n; }
        }
        return have;
    }
};

template <typename F, int D, int NSG, int DEPTH>
FN void decode(const float* q, const uchar* kv, const Block* blocks, const Query* queries, float* out, float* out_m, float* out_l, const StagedParams& P, uchar* pool, int* all_places, float2* sh_ml, Ctx t) {
    typedef Staged<F> S;
    typedef Feed<F, D> Fed;
    constexpr int FRAGS = D / 16, TILES = STEP_KEYS / 8, GROUPS = D / 32, UNITS = Fed::UNITS;
    constexpr int WITH = UNITS < 4 ? 4 / UNITS : 1;             // tiles of eight keys whose rows four matrices are
    constexpr bool SCALED = F::BITS < 16;
    constexpr float BITS_ARE = SCALED ? 0x1p-24f : 1.0f;
    const uint head = t.tg.x, split = t.tg.y, row = t.tg.z, lane = t.lane, part = lane % 4, mine = lane / 4;
    const Query query = queries[row];

    Fed feed;
    const uint steps = query.tiles * (TILE / STEP_KEYS), all = t.ntg.y * NSG, which = split * NSG + t.sg;
    feed.kv = kv; feed.blocks = blocks; feed.head = head; feed.position = query.position; feed.window = P.window > 0 ? P.window : 1 << 30;
    const uint first_step = uint(ulong(steps) * which / all);
    feed.at = first_step; feed.end = uint(ulong(steps) * (which + 1) / all);
    feed.block = query.begin; feed.last = query.begin + query.count; feed.end_block = 0; feed.limit = 0;
    if (feed.at < feed.end) feed.find(query, lane);
    int* const places = all_places + t.sg * (DEPTH * 2);
    const Place stages = place_of(pool + t.sg * (DEPTH * Fed::STAGE));

    // Rows 8 and up of A are what rounding leaves of rows 0 to 7.
    FragA<half> qa[FRAGS];
    float begin[GROUPS], of[FRAGS][2][2], largest = 0;
    const float* q0 = q + (ulong(row) * P.heads + head * P.group + mine) * D;
    UNROLL for (int f = 0; f < FRAGS; f++) UNROLL for (int p = 0; p < 2; p++) UNROLL for (int e = 0; e < 2; e++) {
        of[f][p][e] = int(mine) < P.group ? q0[S::key(f, part, p, e)] : 0.0f;
        largest = larger(largest, magnitude(of[f][p][e]));
    }
    // The powers of two by their bits: up brings the largest element to [2^14, 2^15), and undo makes scores of sums. Within these bounds
    // LOWEST times undo is still far below any score, and undo finite.
    const uint exponent = min(max(as_type<uint>(magnitude(row_max(largest) * P.scale)) >> 23, 77u), SCALED ? 244u : 254u);
    const float up = as_type<float>((268u - exponent) << 23), undo = as_type<float>((exponent - (SCALED ? 14u - 24u : 14u)) << 23);
    UNROLL for (int i = 0; i < GROUPS; i++) begin[i] = 0;
    UNROLL for (int f = 0; f < FRAGS; f++) UNROLL for (int p = 0; p < 2; p++) {
        const float by = P.scale * (p ? up / S::UP : up), x = of[f][p][0] * by, y = of[f][p][1] * by;
        const uint hi = pair_of(x, y), lo = pair_of(x - pair_lo(hi), y - pair_hi(hi));
        qa[f].r[2 * p] = hi; qa[f].r[2 * p + 1] = lo;
        begin[f / 2] += (pair_lo(hi) + pair_hi(hi) + (pair_lo(lo) + pair_hi(lo))) * (p ? S::UP : 1.0f);
    }
    if (SCALED) UNROLL for (int i = 0; i < GROUPS; i++) begin[i] = row_sum(begin[i]) * (-S::ZERO * BITS_ARE);

    FragC o[D / 8];
    UNROLL for (int i = 0; i < D / 8; i++) c_zero(o[i]);
    float m = LOWEST, l = 0, shift = S::SHIFT;
    FragC begins[GROUPS];
    UNROLL for (int i = 0; i < GROUPS; i++) { begins[i].e[0] = begins[i].e[1] = begin[i]; begins[i].e[2] = begins[i].e[3] = 0; }
    const uint rows_at = Fed::place(lane / 8 / (4 / WITH) * 8 + lane % 8, lane / 8 % (4 / WITH)), columns_at = Fed::place(lane / 8 % 2 * 8 + lane % 8, lane / 16);
    int asked = 0, into = 0, stage = 0;
    for (int done = 1 - DEPTH; done < asked; done++) {           // before the first, DEPTH - 1 steps are asked for
        if (done >= 0) {
            async_wait<DEPTH - 2>();
            simdgroup_barrier(mem_flags::mem_threadgroup);
        }
        if (feed.ask(stages + into * Fed::STAGE, places + 2 * into, lane)) {
            asked++;
            if (++into == DEPTH) into = 0;
        }
        async_commit();
        if (done < 0) continue;
        const Place at = stages + stage * Fed::STAGE;
        const int lowest = places[2 * stage], n = places[2 * stage + 1];

        float x[TILES * 2];
        UNROLL for (int both = 0; both < TILES; both += WITH) {
            uint rows[UNITS * WITH];
            UNROLL for (int u = 0; u < UNITS * WITH; u += 4) {
                uint four[4];
                load_rows(four, at, (rows_at ^ uint(u * 16)) + both * 8 * Fed::ROW, lane);
                UNROLL for (int j = 0; j < 4; j++) rows[u + j] = four[j];
            }
            UNROLL for (int i = both; i < both + WITH; i++) {
                const uint* r = rows + (i - both) * UNITS;
                if (SCALED) {
                    Scales<(D + 63) / 64> w;
                    w.load(at + (2 * Fed::PLANE + (i * 8 + part * 2) * Fed::SCALES));
                    x[2 * i] = x[2 * i + 1] = 0;
                    UNROLL for (int j = 0; j < GROUPS; j++) {
                        FragC c;
                        FragB<half> b0, b1;
                        S::keys(b0, 2 * j, r); S::keys(b1, 2 * j + 1, r);
                        mma(c, qa[2 * j], b0, begins[j]);
                        mma(c, qa[2 * j + 1], b1);
                        x[2 * i] = fma(c.e[0] + c.e[2], w.scale(0, j), x[2 * i]);
                        x[2 * i + 1] = fma(c.e[1] + c.e[3], w.scale(1, j), x[2 * i + 1]);
                    }
                } else {
                    FragC c;
                    c_zero(c);
                    UNROLL for (int f = 0; f < FRAGS; f++) {
                        FragB<half> b;
                        S::keys(b, f, r);
                        mma(c, qa[f], b);
                    }
                    x[2 * i] = c.e[0] + c.e[2]; x[2 * i + 1] = c.e[1] + c.e[3];
                }
            }
        }
        if (n < STEP_KEYS || lowest > 0)
            UNROLL for (int i = 0; i < TILES * 2; i++) {
                const int key = i / 2 * 8 + int(part) * 2 + i % 2;
                if (key >= n || key < lowest) x[i] = LOWEST;
            }
        float top = m;
        UNROLL for (int i = 0; i < TILES * 2; i++) top = larger(top, x[i]);
        top = row_max(top);
        if (simd_any(top > m)) {
            const float f = fexp2((m - top) * undo);
            l *= f;
            UNROLL for (int i = 0; i < D / 8; i++) UNROLL for (int e = 0; e < 4; e++) o[i].e[e] *= f;
            m = top;
        }
        UNROLL for (int i = 0; i < TILES * 2; i++) { x[i] = fexp2(fma(x[i] - m, undo, shift)); l += x[i]; }

        UNROLL for (int i = 0; i < STEP_KEYS / 16; i++) {
            uint hi[2], lo[2];
            UNROLL for (int p = 0; p < 2; p++) {
                const float u = x[4 * i + 2 * p], v = x[4 * i + 2 * p + 1];
                hi[p] = pair_of(u, v);
                lo[p] = pair_of(u - pair_lo(hi[p]), v - pair_hi(hi[p]));
            }
            FragA<half> pa[GROUPS];
            if (SCALED) {
                UNROLL for (int p = 0; p < 2; p++) {
                    const int key = i * 16 + p * 8 + int(part) * 2;
                    Scales<(D + 63) / 64> w;
                    w.load(at + (2 * Fed::PLANE + (STEP_KEYS + key) * Fed::SCALES));
                    if (key + 1 >= n) {                          // a unit of scales is several keys', of which those behind the first may be anything
                        w.clear(1);
                        if (key >= n) w.clear(0);
                    }
                    UNROLL for (int j = 0; j < GROUPS; j++) {
                        const uint s = w.both(j), h = pair_mul(hi[p], s);
                        pa[j].r[2 * p] = h;
                        pa[j].r[2 * p + 1] = pair_fma(lo[p], s, pair_less(hi[p], s, h));
                    }
                }
            } else {
                UNROLL for (int p = 0; p < 2; p++) { pa[0].r[2 * p] = hi[p]; pa[0].r[2 * p + 1] = lo[p]; }
            }
            UNROLL for (int u = 0; u < UNITS; u += 2) {
                uint r[4];
                load_columns(r, at, Fed::PLANE + (columns_at ^ uint(u * 16)) + i * 16 * Fed::ROW, lane);
                UNROLL for (int j = 0; j < 2 * S::FRAGS; j++) {
                    FragB<half> b;
                    b.r[0] = S::values(r[j / S::FRAGS * 2], j % S::FRAGS); b.r[1] = S::values(r[j / S::FRAGS * 2 + 1], j % S::FRAGS);
                    mma(o[u * S::FRAGS + j], pa[SCALED ? (u * S::FRAGS + j) / 4 : 0], b);
                }
            }
        }
        if (++stage == DEPTH) stage = 0;
        if (SCALED && done + 1 == asked && shift > 0.0f) {
            // A weight times a scale that is no half has left nothing finite in any element of that scale. Weights of at most 1 leave no such products.
            float odd = 0;
            UNROLL for (int i = 0; i < GROUPS; i++) odd = fma(o[4 * i].e[0], 0.0f, odd);
            if (simd_any(odd != 0.0f)) {
                shift = 0; m = LOWEST; l = 0;
                UNROLL for (int i = 0; i < D / 8; i++) c_zero(o[i]);
                feed.at = first_step; feed.block = query.begin;
                feed.find(query, lane);
                done = -DEPTH; asked = into = stage = 0;
            }
        }
    }

    // The simdgroups' parts are one.
    l = row_sum(l);
    m = l == 0.0f ? LOWEST : m * undo;
    const float unshift = fexp2(-shift);
    if (part == 0) sh_ml[t.sg * 8 + mine] = float2(m, l * unshift);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float* sh_o = (float*)pool;                      // [NSG][group][D]
    float top = LOWEST;
    UNROLL for (int g = 0; g < NSG; g++) top = max(top, sh_ml[g * 8 + mine].x);
    const float f = fexp2(m - top) * unshift;
    if (int(mine) < P.group)
        UNROLL for (int n = 0; n < D / 8; n++) UNROLL for (int e = 0; e < 2; e++)
            sh_o[(int(t.sg) * P.group + int(mine)) * D + S::value(n, int(part) * 2 + e)] = (o[n].e[e] + o[n].e[e + 2]) * (n & 1 ? f / S::UP : f);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const ulong to = (ulong(split) * t.ntg.z + row) * P.heads + head * P.group;
    for (uint i = t.tid; i < uint(P.group) * D; i += NSG * 32) {
        float v = 0;
        UNROLL for (int g = 0; g < NSG; g++) v += sh_o[g * P.group * D + i];
        out[to * D + i] = v;
    }
    if (t.tid < uint(P.group)) {
        float top = LOWEST, sum = 0;
        for (int g = 0; g < NSG; g++) top = max(top, sh_ml[g * 8 + t.tid].x);
        for (int g = 0; g < NSG; g++) sum += sh_ml[g * 8 + t.tid].y * fexp2(sh_ml[g * 8 + t.tid].x - top);
        out_m[to + t.tid] = sum == 0.0f ? neg_inf() : top * LN2;
        out_l[to + t.tid] = sum;
    }
}

#define STAGED(name, F, D, NSG, DEPTH, GROUPS)                                                                            \
KERNEL(name, NSG * 32, GROUPS)(BUF(0, const float, q), BUF(1, const uchar, kv), BUF(2, const Block, blocks), BUF(3, const Query, queries), \
             BUF(4, float, out), BUF(5, float, out_m), BUF(6, float, out_l), ARG(7, StagedParams, P) GRID_ARGS) {      \
    SHARED(int, places, NSG * DEPTH * 2); SHARED(float2, sh_ml, NSG * 8);                                              \
    decode<F, D, NSG, DEPTH>(q, kv, blocks, queries, out, out_m, out_l, P, POOL, places, sh_ml, GRID);                    \
}
