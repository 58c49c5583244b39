// Weights as files have them whose groups have a scale and an offset: q stands for scale·q + offset. Package quant has how GGUF's blocks and MLX's groups
// lie. Those of Q6_K have 210 bytes, and kernels read more than two at a time: so its elements lie apart from its scales, which are all signed bytes and
// then all halves. Scales of MLX's formats lie before biases.
//
// A byte below 128 becomes a float, 128 + itself, by an instruction or few. Elements are made so: number is what is cheap to have, and q is
// (number - BASE)·STEP.
struct WQ4K {
    static constant constexpr float STEP = 0.125f, BASE = 128.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i / 4], i % 4); }
};
struct WQ6K {
    static constant constexpr float STEP = 1.0f, BASE = 160.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i / 4], i % 4); }
};
// MLX's: B bits, groups of G columns, scales and biases of type N, one of WF32, WF16, WBF16.
template <int B, int G, typename N> struct WAffine;
template <int G, typename N> struct WAffine<4, G, N> {
    static constant constexpr float STEP = 0.125f, BASE = 128.0f;
    static FN float number(thread const uint* w, int i) { return raised_byte(w[i & 1], i / 2); }
};
template <int G, typename N> struct WAffine<8, G, N> {
    static constant constexpr float STEP = 1.0f, BASE = 0.0f;
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
    // s plus the products of numbers with x [8]. Where s was begun with start(the sum of x), that is the products of q, over STEP.
    static FN float sum(thread const Octet& self, thread const float* x, float s) {
        UNROLL for (int i = 0; i < 8; i++) s = fma(F::number(self.w, i), x[i], s);
        return s;
    }
    static FN float start(float sx) { return sx * -F::BASE; }
    static FN void values(thread const Octet& self, thread float* v) {
        UNROLL for (int i = 0; i < 8; i++) v[i] = fma((F::number(self.w, i) - F::BASE) * F::STEP, self.scale, self.offset);
    }
};

// The low or high nibbles of a word's bytes, times 8.
FN uint nibbles8(uint w, uint high) { return (w >> (high * 4) << 3) & 0x78787878u; }
FN float small_byte(uint w, int i) { return raised_byte(w, i) - 128.0f; }

// The scales of groups 2 pair and 2 pair + 1 of a block of Q4_K, in bytes 0 and 1, and their minimums, in bytes 2 and 3. head is the block's first
// 16 bytes: d and dmin, then twelve with 6 bits of each.
FN uint scales_q4k(uint4 head, uint pair) {
    const bool late = pair >= 2, odd = pair % 2 != 0;
    const uint six = zip(head.y, head.z, odd), four = zip(head.w, head.w >> 4, odd);
    return ((late ? four : six) & (late ? 0x0f0f0f0fu : 0x3f3f3f3fu)) | ((six >> 2) & (late ? 0x30303030u : 0u));
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
        const uint high = self.group % 2, scales = scales_q4k(self.head, self.group / 2) >> (high * 8);
        o.scale = pair_lo(self.head.x) * small_byte(scales & 0xffu, 0);
        o.offset = -pair_hi(self.head.x) * small_byte(scales & 0xff0000u, 2);
        o.w[0] = nibbles8(self.w.x, high); o.w[1] = nibbles8(self.w.y, high);
        Octet<WQ4K>::values(o, v);
    }
};
// Eight bytes: eight elements of a group, and of the next.
template <> struct Taken<WQ4K> {
    static constant constexpr int COUNT = 2;
    struct From { device const uchar* head; device const uchar* w; };
    uint4 head;
    uint2 w;
    static FN uint first(uint lane) { return lane / 4 * 64 + lane % 4 * 8; }
    static FN uint offset(int e) { return uint(e) * 32; }
    static FN From from(Row row, uint lane) {
        device const uchar* block = row.data + lane / 16 * 144;
        return From{block, block + 16 + lane % 16 * 8};
    }
    static FN void take(thread Taken& self, From at, uint, uint base) {
        self.head = *(device const uint4*)(at.head + base * 9);
        self.w = *(device const uint2*)(at.w + base * 9);
    }
    static FN float sum(thread const Taken& self, uint lane, thread const float* x, thread const float* sums, float s) {
        const uint scales = scales_q4k(self.head, lane % 16 / 4);
        float t = 0, least = 0;
        UNROLL for (int e = 0; e < 2; e++) {
            Octet<WQ4K> o;
            o.w[0] = nibbles8(self.w.x, uint(e)); o.w[1] = nibbles8(self.w.y, uint(e));
            t = fma(small_byte(scales, e), Octet<WQ4K>::sum(o, x + 8 * e, Octet<WQ4K>::start(sums[e])), t);
            least = fma(small_byte(scales, e + 2), sums[e], least);
        }
        return fma(pair_lo(self.head.x) * WQ4K::STEP, t, fma(-pair_hi(self.head.x), least, s));
    }
};

// The elements of quarter e of half a block of Q6_K: nibbles of low, and two bits of each byte of high.
FN uint bytes_q6k(uint low, uint high, uint e) { return ((low >> (e / 2 * 4)) & 0x0f0f0f0fu) | ((high >> (2 * e) << 4) & 0x30303030u); }
// Byte i of w as a signed number.
FN float signed_byte(uint w, int i) { return magic_byte(w ^ 0x80808080u, i) - 8388736.0f; }
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
        self.scale = signed_byte(row.scales[k / 16], 0) * half_bits(((device const ushort*)row.more)[k / 256]);
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
    struct From { device const uchar* low; device const uchar* high; device const uchar* scales; device const uchar* d; };
    uint2 low[2], high, scales; // scales of half a block, each for 16 elements
    float d;
    static FN uint first(uint lane) { return lane / 4 * 128 + lane % 4 * 8; }
    static FN uint offset(int e) { return uint(e) * 32; }
    static FN From from(Row row, uint lane) {
        device const uchar* block = row.data + lane / 8 * 192;
        const uint part = lane % 8 / 4, l = lane % 4 * 8;
        return From{block + part * 64 + l, block + 128 + part * 32 + l, row.scales + lane / 4 * 8, row.more + lane / 8 * 2};
    }
    static FN void take(thread Taken& self, From at, uint, uint base) {
        self.low[0] = *(device const uint2*)(at.low + base * 24);
        self.low[1] = *(device const uint2*)(at.low + base * 24 + 32);
        self.high = *(device const uint2*)(at.high + base * 24);
        self.scales = *(device const uint2*)(at.scales + base * 2);
        self.d = half_bits(*(device const ushort*)(at.d + base / 4));
    }
    static FN float sum(thread const Taken& self, uint lane, thread const float* x, thread const float* sums, float s) {
        const uint odd = lane % 4 / 2 * 8;
        float t = 0;
        UNROLL for (int e = 0; e < 4; e++) {
            Octet<WQ6K> o;
            o.w[0] = bytes_q6k(self.low[e % 2].x, self.high.x, uint(e)); o.w[1] = bytes_q6k(self.low[e % 2].y, self.high.y, uint(e));
            t = fma(signed_byte((e / 2 ? self.scales.y : self.scales.x) >> odd, e % 2 * 2), Octet<WQ6K>::sum(o, x + 8 * e, Octet<WQ6K>::start(sums[e])), t);
        }
        return fma(self.d, t, s);
    }
};

template <typename N> FN float number_at(device const uchar* p, uint i);
template <> FN float number_at<WF32>(device const uchar* p, uint i) { return ((device const float*)p)[i]; }
template <> FN float number_at<WF16>(device const uchar* p, uint i) { return half_bits(((device const ushort*)p)[i]); }
template <> FN float number_at<WBF16>(device const uchar* p, uint i) { return bf16_lo(((device const ushort*)p)[i]); }

template <int B, int G, typename N> struct Eight<WAffine<B, G, N>> {
    uint w[B / 4];
    float scale, offset;
    static FN void fetch(thread Eight& self, Row row, uint k) {
        device const uchar* from = row.data + ulong(k) * B / 8;
        if (B == 4) self.w[0] = *(device const uint*)from;
        else { const uint2 r = *(device const uint2*)from; self.w[0] = r.x; self.w[B / 4 - 1] = r.y; }
        self.scale = number_at<N>(row.scales, k / G);
        self.offset = number_at<N>(row.more, k / G);
    }
    static FN void decode(thread const Eight& self, thread Octet<WAffine<B, G, N>>& o) {
        o.scale = self.scale; o.offset = self.offset;
        o.w[0] = B == 4 ? nibbles8(self.w[0], 0) : self.w[0];
        o.w[1] = B == 4 ? nibbles8(self.w[0], 1) : self.w[B / 4 - 1];
    }
    static FN void values(thread const Eight& self, thread float* v) {
        Octet<WAffine<B, G, N>> o;
        decode(self, o);
        Octet<WAffine<B, G, N>>::values(o, v);
    }
};
template <int B, int G, typename N> struct Taken<WAffine<B, G, N>> {
    static constant constexpr int COUNT = 1;
    typedef Row From;
    Eight<WAffine<B, G, N>> eight;
    static FN uint first(uint lane) { return lane * 8; }
    static FN uint offset(int) { return 0; }
    static FN From from(Row row, uint lane) {
        const uint group = lane * 8 / G * (N::BITS / 8);
        return Row{row.data + lane * B, row.scales + group, row.more + group};
    }
    static FN void take(thread Taken& self, From at, uint, uint base) { Eight<WAffine<B, G, N>>::fetch(self.eight, at, base * 8); }
    static FN float sum(thread const Taken& self, uint, thread const float* x, thread const float* sums, float s) {
        Octet<WAffine<B, G, N>> o;
        Eight<WAffine<B, G, N>>::decode(self.eight, o);
        const float t = Octet<WAffine<B, G, N>>::sum(o, x, Octet<WAffine<B, G, N>>::start(sums[0]));
        return fma(o.scale * WAffine<B, G, N>::STEP, t, fma(o.offset, sums[0], s));
    }
};
