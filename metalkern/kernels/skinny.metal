// out[T][rows] = x[T][cols]·wᵀ for at most eight tokens, on the matrix units, at the speed of memory: eight rows of A are the tokens and the
// other eight what their rounding left over, so a product is as exact as with float x, and costs the same for one token as for eight.
// B is made of rows of w as they are stored, as in decode attention.
//
// A group takes NT·8 rows, its simdgroups every NSG-th chunk of CHUNK columns.
struct SkinnyParams {
    int rows, cols;      // of w; cols a multiple of CHUNK
    int tokens;
    int add;             // whether out is added to
};

// Packs x [tokens][cols] for it: fragments of A, [cols/16][tokens][4] lanes of 16 bytes. A simdgroup makes a fragment.
template <typename E, int CHUNK> FN void pack(device uint4* packed, device const float* x, constant SkinnyParams& P, Ctx t) {
    constexpr int W = CHUNK / KEY_LANES;
    const uint at = t.tg.x * 8 + t.sg, token = a_row(t.lane, 0);
    if (int(at) >= P.cols / 16 || int(token) >= P.tokens) return;
    const uint chunk = at / (CHUNK / 16), f = at % (CHUNK / 16);
    E tag;
    uint r[4];
    UNROLL for (int i = 0; i < 2; i++) {                                 // pairs 2i and 2i+1 are the same columns
        const uint k = a_col(t.lane, 2 * i);
        device const float* from = x + ulong(token) * P.cols + chunk * CHUNK;
        const float u = from[key_dim<W>(int(f), k)], v = from[key_dim<W>(int(f), k + 1)];
        split2(r[2 * i], r[2 * i + 1], u, v, &tag);
    }
    packed[(at * P.tokens + token) * 4 + a_col(t.lane, 0) / 2] = uint4(r[0], r[1], r[2], r[3]);
}
#define PACK(name, E, CHUNK)                                                                                           \
KERNEL(name, 256, 1)(BUF(0, uint4, packed), BUF(1, const float, x), ARG(2, SkinnyParams, P) GRID_ARGS) { pack<E, CHUNK>(packed, x, P, GRID); }

// W elements of a row on their way to fragments of B, as pairs of halves, or of bf16.
template <typename F, int W> struct Carried {
    Eight<F> eights[W / 8];
    static FN void fetch(thread Carried& self, Row row, uint k) { UNROLL for (int i = 0; i < W / 8; i++) Eight<F>::fetch(self.eights[i], row, k + 8 * i); }
    static FN void pairs(thread const Carried& self, thread uint* x) {
        UNROLL for (int i = 0; i < W / 8; i++) {
            float v[8];
            Eight<F>::values(self.eights[i], v);
            UNROLL for (int j = 0; j < 4; j++) x[4 * i + j] = pair_of(v[2 * j], v[2 * j + 1]);
        }
    }
};
#define CARRIED(F, STORED)                                                                                             \
template <int W> struct Carried<F, W> {                                                                                \
    uint words[W * F::BITS / 32 > 0 ? W * F::BITS / 32 : 1];                                                           \
    ushort scale;                                                                                                      \
    static FN void fetch(thread Carried& self, Row row, uint k) {                                                      \
        Fetch<STORED, W>::get(row.data, k, self.words);                                                                \
        self.scale = F::SCALED ? ((device const ushort*)row.scales)[k / 32] : ushort(0);                               \
    }                                                                                                                  \
    static FN void pairs(thread const Carried& self, thread uint* x) { Unpack<STORED>::template get<W>(self.words, self.scale, x); } \
};
CARRIED(WF16, F16)
CARRIED(WBF16, B16)
CARRIED(WQ8, Q8)
CARRIED(WQ4, Q4)

template <typename F, typename E, int CHUNK, int NT, int NSG>
FN void skinny(device const uint4* packed, device const uchar* w, device const ushort* scales, device float* out, constant SkinnyParams& P, threadgroup float* sums, Ctx t) {
    constexpr int W = CHUNK / KEY_LANES, FRAGS = CHUNK / 16;
    // Lanes of rows without a token take the last one along: for a matrix step all lanes must be there, and nobody reads those rows.
    const uint step = P.tokens * 4;
    device const uint4* mine = packed + min(a_row(t.lane, 0), uint(P.tokens) - 1) * 4 + a_col(t.lane, 0) / 2;
    const int first = int(t.tg.x) * NT * 8;
    const uint part = key_part(t.lane) * W;
    Row rows[NT][KEY_ROWS];
    FragC c[NT];
    UNROLL for (int n = 0; n < NT; n++) {
        c_zero(c[n]);
        UNROLL for (int r = 0; r < KEY_ROWS; r++) rows[n][r] = row_at<F>(w, scales, P.rows, P.cols, ulong(min(first + n * 8 + int(key_row(t.lane, r)), P.rows - 1)));
    }
    UNROLL_BY(4) for (int chunk = int(t.sg); chunk < P.cols / CHUNK; chunk += NSG) {
        Carried<F, W> carried[NT][KEY_ROWS];
        UNROLL for (int n = 0; n < NT; n++) UNROLL for (int r = 0; r < KEY_ROWS; r++) Carried<F, W>::fetch(carried[n][r], rows[n][r], uint(chunk) * CHUNK + part);
        uint x[NT][KEY_ROWS * W / 2];
        UNROLL for (int n = 0; n < NT; n++) UNROLL for (int r = 0; r < KEY_ROWS; r++) Carried<F, W>::pairs(carried[n][r], x[n] + r * (W / 2));
        UNROLL for (int f = 0; f < FRAGS; f++) {
            const uint4 a = mine[(uint(chunk) * FRAGS + f) * step];
            FragA<E> fa;
            a_bits(fa, 0, a.x); a_bits(fa, 1, a.y); a_bits(fa, 2, a.z); a_bits(fa, 3, a.w);
            UNROLL for (int n = 0; n < NT; n++) {
                FragB<E> b;
                key_fragment<W>(b, f, x[n]);
                mma(c[n], fa, b);
            }
        }
    }
    UNROLL for (int n = 0; n < NT; n++) UNROLL for (int e = 0; e < 2; e++)
        sums[((t.sg * NT + n) * 8 + c_row(t.lane, e)) * 8 + c_col(t.lane, e)] = c_get(c[n], e) + c_get(c[n], e + 2);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (int i = int(t.tid); i < NT * 64; i += NSG * 32) {
        const int n = i / 64, to = i % 64 / 8, row = first + n * 8 + i % 8;
        float sum = 0;
        UNROLL for (int g = 0; g < NSG; g++) sum += sums[(g * NT + n) * 64 + i % 64];
        if (to < P.tokens && row < P.rows) {
            device float* o = out + ulong(to) * P.rows + row;
            *o = P.add ? *o + sum : sum;
        }
    }
}
#define SKINNY(name, F, E, CHUNK, NT, NSG)                                                                             \
KERNEL(name, NSG * 32, 1)(BUF(0, const uint4, packed), BUF(1, const uchar, w), BUF(2, const ushort, scales), BUF(3, float, out), ARG(4, SkinnyParams, P) GRID_ARGS) { \
    SHARED(float, sums, NSG * NT * 64);                                                                                \
    skinny<F, E, CHUNK, NT, NSG>(packed, w, scales, out, P, sums, GRID);                                               \
}
