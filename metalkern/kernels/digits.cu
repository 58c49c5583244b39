// out[rows] = x[cols]·wᵀ for one token and weights in q4, on the matrix units for integers, which the dialect does not have. x becomes
// numbers of 24 bits, as parts of the largest of each 32 columns, in three digits of base 256, from -128 to 127: as exact as floats. A
// column of B is a digit, so sums over 32 columns are exact, and scales come after them.
//
// A step is SPAN columns, two groups of 32, of 16 rows. Of each row four lanes read 16 elements each, as they lie: lanes 0 and 1 those of the first group,
// 2 and 3 those of the second. Columns 0-2 of B are digits of the first and nothing for lanes 2 and 3, columns 3-5 those of the second. A block makes
// the digits once, in shared memory, while the first weights are on their way, and takes tiles of 16 rows until none is left; its warps divide the
// columns.
constexpr int SPAN = 64, SPAN_BYTES = 288;                           // in shared memory: [digit][lane of a row][16], and for pairs of B's columns [4] begins and scales
constexpr int BEGINS = 192, SCALES = 256;
constexpr uint MAGIC = 0x4b400000;                                   // 1.5·2^23 as float, to which small integers can be added
constexpr float LARGEST = 8355000.0f;                                // a little less than 127, 127, 127 in digits, lest rounding passes that

struct MatvecParams { int rows, cols, tokens, add; };                // as in matvec.metal, for one token

// Elements of a lane's two rows, and scales of both groups.
struct Piece { uint w[2][2], scale[2]; };
struct Row { const uchar* w; const ushort* scales; };

FN Row row_at(const uchar* w, const ushort* scales, int row, int rows, int cols) {
    const ulong at = ulong(min(row, rows - 1));
    return Row{w + at * (uint(cols) / 2), scales + at * (cols / 32)};
}
FN uint4 mma_bytes(uint4 c, uint a0, uint a1, uint a2, uint a3, uint b0, uint b1) {
    uint4 d;
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=r"(d.x), "=r"(d.y), "=r"(d.z), "=r"(d.w) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(c.x), "r"(c.y), "r"(c.z), "r"(c.w));
    return d;
}
FN int sum_bytes(uint w, int s) { asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(s) : "r"(w), "r"(0x01010101)); return s; }
FN uint fixed(float x) { int v; asm("cvt.rni.s32.f32 %0, %1;" : "=r"(v) : "f"(x)); return uint(v + 0x808080); }   // its bytes are digits + 128
FN float reciprocal(float x) { float r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
FN uint stream4(const void* p) { uint v; asm volatile("ld.global.nc.L1::no_allocate.b32 %0, [%1];" : "=r"(v) : "l"(p)); return v; }

FN uint2 stream8(const void* p) { uint2 v; asm volatile("ld.global.nc.L1::no_allocate.v2.b32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p)); return v; }
FN float2 shared2(uint at) { float2 v; asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at)); return v; }
FN uint4 shared4(uint at) { uint4 v; asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at)); return v; }
// Word i of the bytes of a lane's 16 elements of a row: 0, 4, 1 and 5 of the first eight, 2, 6, 3 and 7, and the same of the other eight.
FN uint word(const Piece& p, int row, int i) { return (i % 2 ? p.w[row][i / 2] >> 4 : p.w[row][i / 2]) & 0x0f0f0f0fu; }

// Makes the digits of eight columns from k on, and what goes with them: of each pair of B's columns what its sums begin with, as rows of C have it, and
// of each column what it is multiplied with.
FN void make_eight(const float (&v)[8], int k, int cols, uchar* pool, uint lane) {
    uint top = 0;                                                    // of the bits, so that what is no number stays on top
    UNROLL for (int i = 0; i < 8; i++) top = max(top, as_type<uint>(v[i]) & 0x7fffffffu);
    top = max(top, as_type<uint>(simd_shuffle_xor(as_type<float>(top), 1)));
    top = max(top, as_type<uint>(simd_shuffle_xor(as_type<float>(top), 2)));
    const float largest = as_type<float>(top), f = largest > 1e-30f ? LARGEST * reciprocal(largest) : 0.0f;
    uint u[8];
    UNROLL for (int i = 0; i < 8; i++) u[i] = fixed(v[i] * f);
    uint d[3][2];
    UNROLL for (int i = 0; i < 2; i++) {                             // in the order of word
        const uint p = u[2 * i], q = u[2 * i + 4], r = u[2 * i + 1], s = u[2 * i + 5];
        const uint lower = prmt(p, q, 0x5140), upper = prmt(r, s, 0x5140);
        d[0][i] = prmt(lower, upper, 0x5410) ^ 0x80808080u;
        d[1][i] = prmt(lower, upper, 0x7632) ^ 0x80808080u;
        d[2][i] = prmt(prmt(p, q, 0x0062), prmt(r, s, 0x0062), 0x5410) ^ 0x80808080u;
    }
    uchar* span = pool + (k / SPAN) * SPAN_BYTES;
    float sums[3];
    UNROLL for (int n = 0; n < 3; n++) {
        sums[n] = float(sum_bytes(d[n][1], sum_bytes(d[n][0], 0)));
        sums[n] += simd_shuffle_xor(sums[n], 1);
        sums[n] += simd_shuffle_xor(sums[n], 2);
    }
    if (k < cols) {
        UNROLL for (int n = 0; n < 3; n++) *(uint2*)(span + n * 64 + k % SPAN) = uint2(d[n][0], d[n][1]);
        const uint n = lane % 4, column = uint(k % SPAN / 32) * 3 + n;
        if (n < 3) {                                             // a nibble is 8 more than what it stands for
            const float sum = n == 0 ? sums[0] : n == 1 ? sums[1] : sums[2], weight = n == 0 ? 1.0f : n == 1 ? 256.0f : 65536.0f;
            uint* begin = (uint*)(span + BEGINS) + column / 2 * 4 + column % 2;
            begin[0] = begin[2] = MAGIC - uint(int(sum) * 8);
            *((float*)(span + SCALES) + column) = largest * (1.0f / LARGEST) * weight;
        }
    }
}
// Makes the digits of x, and what goes with them.
template <int NSG> FN void make_digits(const float* x, int cols, uchar* pool, Ctx t) {
    for (int first = int(t.sg) * 256; first < cols; first += NSG * 256 * 4) {
        float v[4][8];                                               // a lane makes eight, so four lanes share a scale
        UNROLL for (int j = 0; j < 4; j++) {
            const int k = first + j * NSG * 256 + int(t.lane) * 8;
            float4 a(0.0f), b(0.0f);
            if (k < cols) { a = *(const float4*)(x + k); b = *(const float4*)(x + k + 4); }
            v[j][0] = a.x; v[j][1] = a.y; v[j][2] = a.z; v[j][3] = a.w; v[j][4] = b.x; v[j][5] = b.y; v[j][6] = b.z; v[j][7] = b.w;
        }
        UNROLL for (int j = 0; j < 4; j++)
            if (first + j * NSG * 256 < cols) make_eight(v[j], first + j * NSG * 256 + int(t.lane) * 8, cols, pool, t.lane);
    }
    // Steps past the last column, of which the block's last has some, and lanes without digits find zeros.
    const uint end = uint(cols / SPAN + NSG - 1) / NSG * NSG * (SPAN_BYTES / 16) + 1;
    for (uint i = cols / SPAN * (SPAN_BYTES / 16) + t.tid; i < end; i += NSG * 32) ((uint4*)pool)[i] = uint4(0);
}

// rows(tile, i) is row lane/4 + 8·i of a tile, put(tile, r, sum, upper) takes the sums of rows r and r+8.
template <int NSG, int DEPTH, typename Rows, typename Put>
FN void digits(const float* x, int cols, int tiles, Rows rows, Put put, uchar* pool, float* sums, Ctx t) {
    const int spans = cols / SPAN, each = (spans + NSG - 1) / NSG;
    const uint part = t.lane % 4, column = t.lane / 4;
    Piece pieces[DEPTH];
    Row from[2];
    int tile_ahead = int(t.tg.x), left = each;                       // the steps of the tile that are to be fetched
    auto next = [&](Piece& p) {
        if (tile_ahead >= tiles) return;
        if (left == each)
            UNROLL for (int i = 0; i < 2; i++) {
                from[i] = rows(tile_ahead, i);
                from[i].w += (t.sg * 4 + part) * 8;
                from[i].scales += t.sg * 2;
            }
        const bool valid = left > 1 || int(t.sg) + (each - 1) * NSG < spans;
        UNROLL for (int i = 0; i < 2; i++) {
            if (valid) { const uint2 w = stream8(from[i].w); p.w[i][0] = w.x; p.w[i][1] = w.y; }
            p.scale[i] = valid ? stream4(from[i].scales) : 0;
            from[i].w += NSG * SPAN / 2;
            from[i].scales += NSG * 2;
        }
        if (--left == 0) { left = each; tile_ahead += int(t.ntg.x); }
    };
    UNROLL for (int i = 0; i < DEPTH; i++) next(pieces[i]);
    follow();                                                        // nobody writes weights, so they need not wait for the kernel before
    make_digits<NSG>(x, cols, pool, t);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    const bool mine = column < 6 && column / 3 == part / 2;
    const uint base = shared_address(pool), begin = base + t.sg * SPAN_BYTES;
    const uint digits_begin = mine ? begin + column % 3 * 64 + part * 16 : base + each * NSG * SPAN_BYTES, digits_step = mine ? NSG * SPAN_BYTES : 0;
    uint digits_at = digits_begin, span_at = begin;
    const uint half0 = part >= 2 ? 0x4432 : 0x4410, half1 = part >= 1 ? 0x4432 : 0x4410;   // the scale of the group of a column
    float acc[4] = {0, 0, 0, 0};
    int tile = int(t.tg.x), step = 0;
    uint flip = 0;
    while (tile < tiles) {
        UNROLL for (int i = 0; i < DEPTH; i++) {
            if (tile >= tiles) break;
            Piece& p = pieces[i];
            const uint4 b = shared4(digits_at), c = shared4(span_at + BEGINS + part * 16);
            const float2 f = shared2(span_at + SCALES + part * 8);
            digits_at += digits_step;
            span_at += NSG * SPAN_BYTES;
            const uint4 first = mma_bytes(c, word(p, 0, 0), word(p, 1, 0), word(p, 0, 1), word(p, 1, 1), b.x, b.y);
            const uint4 d = mma_bytes(first, word(p, 0, 2), word(p, 1, 2), word(p, 0, 3), word(p, 1, 3), b.z, b.w);
            const uint sum[4] = {d.x, d.y, d.z, d.w};
            UNROLL for (int j = 0; j < 4; j++)
                acc[j] = fma(as_type<float>(sum[j]) - as_type<float>(MAGIC), pair_lo(prmt(p.scale[j / 2], 0, j % 2 ? half1 : half0)) * (j % 2 ? f.y : f.x), acc[j]);
            next(p);
            if (++step == each) {
                UNROLL for (int j = 0; j < 2; j++) {
                    float s = part < 3 ? acc[2 * j] + acc[2 * j + 1] : 0.0f;
                    s += simd_shuffle_xor(s, 1);
                    s += simd_shuffle_xor(s, 2);
                    if (part == 0) sums[(flip * NSG + t.sg) * 16 + j * 8 + column] = s;
                }
                threadgroup_barrier(mem_flags::mem_threadgroup);
                if (t.tid < 8) {
                    float lower = 0, upper = 0;
                    UNROLL for (int g = 0; g < NSG; g++) { lower += sums[(flip * NSG + g) * 16 + t.tid]; upper += sums[(flip * NSG + g) * 16 + 8 + t.tid]; }
                    put(tile, int(t.tid), lower, upper);
                }
                UNROLL for (int j = 0; j < 4; j++) acc[j] = 0;
                flip ^= 1;
                step = 0;
                digits_at = digits_begin;
                span_at = begin;
                tile += int(t.ntg.x);
            }
        }
    }
}

// As MATVEC, MATVECS and GATED of matvec.metal, with tiles of 16 rows, or 8 of each matrix, in place of groups.
FN void put_row(float* out, float* sum, const MatvecParams& P, int row, float s) {
    if (row >= P.rows) return;
    out[row] = P.add == 1 ? out[row] + s : s;
    if (P.add == 2) sum[row] += s;
}
#define DIGITS_MATVEC(name, NSG, DEPTH)                                                                          \
KERNEL(name, NSG * 32, 1)(const float* x, const uchar* w, const ushort* scales, float* out, float* sum, const MatvecParams P) { \
    __shared__ float sums[2 * NSG * 16];                                                                               \
    const Ctx t = place();                                                                                               \
    digits<NSG, DEPTH>(x, P.cols, (P.rows + 15) / 16,                                                            \
        [&](int tile, int i) { return row_at(w, scales, tile * 16 + i * 8 + int(t.lane / 4), P.rows, P.cols); }, \
        [&](int tile, int r, float lower, float upper) { put_row(out, sum, P, tile * 16 + r, lower); put_row(out, sum, P, tile * 16 + 8 + r, upper); }, POOL, sums, t); \
}
struct MatvecsParams { MatvecParams a, b, c; int begin_b, begin_c; };
#define DIGITS_MATVECS(name, NSG, DEPTH)                                                                         \
KERNEL(name, NSG * 32, 1)(const float* x, const uchar* wa, const ushort* scales_a, float* a, const uchar* wb, const ushort* scales_b, float* b, const uchar* wc, const ushort* scales_c, float* c, \
                          const MatvecsParams P) {                                                                     \
    __shared__ float sums[2 * NSG * 16];                                                                               \
    const Ctx t = place();                                                                                               \
    digits<NSG, DEPTH>(x, P.a.cols, P.begin_c + (P.c.rows + 15) / 16,                                            \
        [&](int tile, int i) {                                                                                         \
            const int r = i * 8 + int(t.lane / 4);                                                                     \
            if (tile < P.begin_b) return row_at(wa, scales_a, tile * 16 + r, P.a.rows, P.a.cols);                \
            if (tile < P.begin_c) return row_at(wb, scales_b, (tile - P.begin_b) * 16 + r, P.b.rows, P.a.cols);  \
            return row_at(wc, scales_c, (tile - P.begin_c) * 16 + r, P.c.rows, P.a.cols);                        \
        },                                                                                                             \
        [&](int tile, int r, float lower, float upper) {                                                               \
            float* out = tile < P.begin_b ? a : tile < P.begin_c ? b : c;                                              \
            const MatvecParams& p = tile < P.begin_b ? P.a : tile < P.begin_c ? P.b : P.c;                             \
            const int row = (tile - (tile < P.begin_b ? 0 : tile < P.begin_c ? P.begin_b : P.begin_c)) * 16 + r;       \
            put_row(out, out, p, row, lower);                                                                          \
            put_row(out, out, p, row + 8, upper);                                                                      \
        }, POOL, sums, t);                                                                                             \
}
#define DIGITS_GATED(name, NSG, DEPTH)                                                                           \
KERNEL(name, NSG * 32, 1)(const float* x, const uchar* wg, const ushort* scales_g, const uchar* wu, const ushort* scales_u, float* gate, float* up, const MatvecParams P) { \
    __shared__ float sums[2 * NSG * 16];                                                                               \
    const Ctx t = place();                                                                                               \
    digits<NSG, DEPTH>(x, P.cols, (P.rows + 7) / 8,                                                              \
        [&](int tile, int i) { return row_at(i ? wu : wg, i ? scales_u : scales_g, tile * 8 + int(t.lane / 4), P.rows, P.cols); }, \
        [&](int tile, int r, float g, float u) {                                                                       \
            const int row = tile * 8 + r;                                                                              \
            if (row >= P.rows) return;                                                                                 \
            gate[row] = fdivide(g, 1.0f + fexp2(-g * LOG2E)) * u;                                                      \
            up[row] = u;                                                                                               \
        }, POOL, sums, t);                                                                                             \
}
