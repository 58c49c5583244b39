// Weights as files have them whose groups have a scale and an offset: q stands for scale·q + offset. Package quant has how GGUF's blocks and MLX's groups
// lie. Those of Q6_K have 210 bytes, and kernels read more than two at a time: so its elements lie apart from its scales, which are all signed bytes and
// then all halves. Scales of MLX's formats lie before biases.
//
// A byte below 128 becomes a float, 128 + itself, by an instruction or few. Elements are made so: number is what is cheap to have, and q is
// number·STEP - ZERO. Sums take numbers, and correct for it once for eight.
struct WQ4K {
    static constant constexpr float STEP = 0.125f, ZERO = 16.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i / 4], i % 4); }
};
struct WQ6K {
    static constant constexpr float STEP = 1.0f, ZERO = 160.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i / 4], i % 4); }
};
// MLX's: B bits, groups of G columns, scales and biases of type N, one of WF32, WF16, WBF16.
template <int B, int G, typename N> struct WAffine;
template <int G, typename N> struct WAffine<4, G, N> {
    static constant constexpr float STEP = 0.125f, ZERO = 16.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i & 1], i / 2); }
};
template <int G, typename N> struct WAffine<8, G, N> {
    static constant constexpr float STEP = 1.0f, ZERO = 0.0f;
    static FN float number(thread const uint* w, int i) { return magic_byte(w[i / 4], i % 4) - 8388608.0f; }
};
// Names without commas, for macros: W_4_64_BF16.
#define AFFINES(B, G) typedef WAffine<B, G, WF32> W_##B##_##G##_F32; typedef WAffine<B, G, WF16> W_##B##_##G##_F16; typedef WAffine<B, G, WBF16> W_##B##_##G##_BF16;
AFFINES(4, 32) AFFINES(4, 64) AFFINES(4, 128) AFFINES(8, 32) AFFINES(8, 64) AFFINES(8, 128)

template <> struct Bytes<WQ4K> {
    static FN ulong data(ulong n) { return n / 256 * 144; }
    static FN ulong scales(ulong) { return 0; }
    static FN ulong more(ulong) { return 0; }
};
template <> struct Bytes<WQ6K> {
    static FN ulong data(ulong n) { return n / 256 * 192; }
    static FN ulong scales(ulong n) { return n / 16; }
    static FN ulong more(ulong n) { return n / 128; }
};
template <int B, int G, typename N> struct Bytes<WAffine<B, G, N>> {
    static FN ulong data(ulong n) { return n * B / 8; }
    static FN ulong scales(ulong n) { return n / G * (N::BITS / 8); }
    static FN ulong more(ulong n) { return n / G * (N::BITS / 8); }
};

// Eight elements of one group, decoded as far as they are the same for every x: their numbers' bytes in two words.
template <typename F> struct Octet {
    uint w[2];
    float scale, offset;
    // s plus the products with x [8], whose sum is sx.
    static FN float sum(thread const Octet& self, thread const float* x, float sx, float s) {
        float t = 0;
        UNROLL for (int i = 0; i < 8; i++) t = fma(F::number(self.w, i), x[i], t);
        return fma(self.scale * F::STEP, t, fma(fma(self.scale, -F::ZERO, self.offset), sx, s));
    }
    static FN void values(thread const Octet& self, thread float* v) {
        UNROLL for (int i = 0; i < 8; i++) v[i] = fma(fma(F::number(self.w, i), F::STEP, -F::ZERO), self.scale, self.offset);
    }
};

// The low or high nibbles of a word's bytes, times 8.
FN uint nibbles8(uint w, uint high) { return (w >> (high * 4) << 3) & 0x78787878u; }
// d times byte i of w, below 128. Both terms are exact, and so is what comes of them, for d of a half.
FN float times_byte(float d, uint w, int i) { return fma(raised_byte(w, i), d, d * -128.0f); }

// The scales s and minimums m of groups 2 pair and 2 pair + 1 of a block of Q4_K, in bytes 0 and 1. head is the block's first 16 bytes: d and dmin, then
// twelve with 6 bits of each s and m.
FN void scales_q4k(uint4 head, uint pair, thread uint& s, thread uint& m) {
    const bool late = pair >= 2;
    const uint at = (pair & 1) * 16, low = late ? 0x0f0fu : 0x3f3fu, high = late ? 0x3030u : 0u;
    s = (((late ? head.w : head.y) >> at) & low) | ((head.y >> (at + 2)) & high);
    m = (((late ? head.w >> 4 : head.z) >> at) & low) | ((head.z >> (at + 2)) & high);
}
FN void group_q4k(thread Octet<WQ4K>& o, uint4 head, uint s, uint m, int i) {
    o.scale = times_byte(pair_lo(head.x), s, i);
    o.offset = -times_byte(pair_hi(head.x), m, i);
}
template <> struct Eight<WQ4K> {
    uint4 head;
    uint2 w;
    uint group;
    static FN void fetch(thread Eight& self, Row row, uint k) {
        device const uchar* block = row.data + ulong(k / 256) * 144;
        self.group = k % 256 / 32;
        self.head = *(device const uint4*)block;
        self.w = *(device const uint2*)(block + 16 + self.group / 2 * 32 + k % 32);
    }
    static FN void values(thread const Eight& self, thread float* v) {
        Octet<WQ4K> o;
        uint s, m;
        const uint high = self.group % 2;
        scales_q4k(self.head, self.group / 2, s, m);
        group_q4k(o, self.head, (s >> (high * 8)) & 0xffu, (m >> (high * 8)) & 0xffu, 0);
        o.w[0] = nibbles8(self.w.x, high); o.w[1] = nibbles8(self.w.y, high);
        Octet<WQ4K>::values(o, v);
    }
};
// Sixteen bytes: sixteen elements of a group, and of the next.
template <> struct Taken<WQ4K> {
    static constant constexpr int COUNT = 4;
    uint4 head, w;
    uint pair;
    static FN uint column(uint n, int e) { return n / 8 * 256 + n % 8 / 2 * 64 + uint(e / 2) * 32 + n % 2 * 16 + uint(e % 2) * 8; }
    static FN void take(thread Taken& self, Row row, uint n) {
        device const uchar* block = row.data + ulong(n / 8) * 144;
        self.pair = n % 8 / 2;
        self.head = *(device const uint4*)block;
        self.w = *(device const uint4*)(block + 16 + n % 8 * 16);
    }
    static FN float sum(thread const Taken& self, thread const float* x, thread const float* sums, float t) {
        uint s, m;
        scales_q4k(self.head, self.pair, s, m);
        UNROLL for (int e = 0; e < 4; e++) {
            Octet<WQ4K> o;
            group_q4k(o, self.head, s, m, e / 2);
            o.w[0] = nibbles8(e % 2 ? self.w.z : self.w.x, uint(e / 2)); o.w[1] = nibbles8(e % 2 ? self.w.w : self.w.y, uint(e / 2));
            t = Octet<WQ4K>::sum(o, x + 8 * e, sums[e], t);
        }
        return t;
    }
};

// The elements of quarter e of half a block of Q6_K: nibbles of low, and two bits of each byte of high.
FN uint bytes_q6k(uint low, uint high, uint e) { return ((low >> (e / 2 * 4)) & 0x0f0f0f0fu) | ((high >> (2 * e) << 4) & 0x30303030u); }
FN float scale_q6k(uint w, int i, float d) { return (magic_byte(w ^ 0x80808080u, i) - 8388736.0f) * d; }
template <> struct Eight<WQ6K> {
    uint2 low, high;
    uint quarter;
    float scale;
    static FN void fetch(thread Eight& self, Row row, uint k) {
        device const uchar* block = row.data + ulong(k / 256) * 192;
        const uint part = k % 256 / 128, l = k % 32;
        self.quarter = k % 128 / 32;
        self.low = *(device const uint2*)(block + part * 64 + self.quarter % 2 * 32 + l);
        self.high = *(device const uint2*)(block + 128 + part * 32 + l);
        self.scale = scale_q6k(row.scales[k / 16], 0, half_bits(((device const ushort*)row.more)[k / 256]));
    }
    static FN void values(thread const Eight& self, thread float* v) {
        Octet<WQ6K> o;
        o.scale = self.scale; o.offset = 0;
        o.w[0] = bytes_q6k(self.low.x, self.high.x, self.quarter); o.w[1] = bytes_q6k(self.low.y, self.high.y, self.quarter);
        Octet<WQ6K>::values(o, v);
    }
};
// Eight elements of each quarter of half a block.
template <> struct Taken<WQ6K> {
    static constant constexpr int COUNT = 4;
    uint2 low[2], high, scales;
    float d;
    static FN uint column(uint n, int e) { return n / 4 * 128 + uint(e) * 32 + n % 4 * 8; }
    static FN void take(thread Taken& self, Row row, uint n) {
        device const uchar* block = row.data + ulong(n / 8) * 192;
        const uint part = n % 8 / 4, l = n % 4 * 8, odd = n % 4 / 2 * 8;
        self.low[0] = *(device const uint2*)(block + part * 64 + l);
        self.low[1] = *(device const uint2*)(block + part * 64 + 32 + l);
        self.high = *(device const uint2*)(block + 128 + part * 32 + l);
        const uint2 s = *(device const uint2*)(row.scales + ulong(n / 4) * 8); // of half a block, each for 16 elements
        self.scales = uint2(s.x >> odd, s.y >> odd);
        self.d = half_bits(((device const ushort*)row.more)[n / 8]);
    }
    static FN float sum(thread const Taken& self, thread const float* x, thread const float* sums, float t) {
        UNROLL for (int e = 0; e < 4; e++) {
            Octet<WQ6K> o;
            o.scale = scale_q6k(e / 2 ? self.scales.y : self.scales.x, e % 2 * 2, self.d); o.offset = 0;
            o.w[0] = bytes_q6k(self.low[e % 2].x, self.high.x, uint(e)); o.w[1] = bytes_q6k(self.low[e % 2].y, self.high.y, uint(e));
            t = Octet<WQ6K>::sum(o, x + 8 * e, sums[e], t);
        }
        return t;
    }
};

template <typename N> FN float number_at(device const uchar* p, uint i);
template <> FN float number_at<WF32>(device const uchar* p, uint i) { return ((device const float*)p)[i]; }
template <> FN float number_at<WF16>(device const uchar* p, uint i) { return half_bits(((device const ushort*)p)[i]); }
template <> FN float number_at<WBF16>(device const uchar* p, uint i) { return bf16_lo(((device const ushort*)p)[i]); }

// COUNT times eight elements of a group, as they lie.
template <int B, int G, typename N, int COUNT> struct Affine {
    uint w[COUNT * B / 4];
    float scale, offset;
    static FN void fetch(thread Affine& self, Row row, uint k) {
        device const uchar* from = row.data + ulong(k) * B / 8;
        if (COUNT * B == 4) self.w[0] = *(device const uint*)from;
        UNROLL for (int i = 0; i < COUNT * B / 8; i++) { const uint2 r = ((device const uint2*)from)[i]; self.w[2 * i] = r.x; self.w[2 * i + 1] = r.y; }
        self.scale = number_at<N>(row.scales, k / G);
        self.offset = number_at<N>(row.more, k / G);
    }
    static FN void decode(thread const Affine& self, int e, thread Octet<WAffine<B, G, N>>& o) {
        o.scale = self.scale; o.offset = self.offset;
        if (B == 4) { o.w[0] = nibbles8(self.w[e], 0); o.w[1] = nibbles8(self.w[e], 1); }
        else { o.w[0] = self.w[e * (B / 4)]; o.w[1] = self.w[e * (B / 4) + B / 8]; }
    }
};
template <int B, int G, typename N> struct Eight<WAffine<B, G, N>> {
    Affine<B, G, N, 1> part;
    static FN void fetch(thread Eight& self, Row row, uint k) { Affine<B, G, N, 1>::fetch(self.part, row, k); }
    static FN void values(thread const Eight& self, thread float* v) {
        Octet<WAffine<B, G, N>> o;
        Affine<B, G, N, 1>::decode(self.part, 0, o);
        Octet<WAffine<B, G, N>>::values(o, v);
    }
};
template <int B, int G, typename N> struct Taken<WAffine<B, G, N>> {
    static constant constexpr int COUNT = 2;
    Affine<B, G, N, 2> part;
    static FN uint column(uint n, int e) { return n * 16 + uint(e) * 8; }
    static FN void take(thread Taken& self, Row row, uint n) { Affine<B, G, N, 2>::fetch(self.part, row, n * 16); }
    static FN float sum(thread const Taken& self, thread const float* x, thread const float* sums, float t) {
        UNROLL for (int e = 0; e < 2; e++) {
            Octet<WAffine<B, G, N>> o;
            Affine<B, G, N, 2>::decode(self.part, e, o);
            t = Octet<WAffine<B, G, N>>::sum(o, x + 8 * e, sums[e], t);
        }
        return t;
    }
};
