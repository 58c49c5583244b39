// Weights as they are stored, rows one after the other. Scales of q8 and q4 are halves, one for each 32 columns; q4 lies in words as package plane has
// it. The formats of groups.h are read through the same types: Bytes, Eight and Taken.
struct WF32 { static constant constexpr int BITS = 32; static constant constexpr bool SCALED = false; };
struct WF16 { static constant constexpr int BITS = 16; static constant constexpr bool SCALED = false; };
struct WBF16 { static constant constexpr int BITS = 16; static constant constexpr bool SCALED = false; };
struct WQ8 { static constant constexpr int BITS = 8; static constant constexpr bool SCALED = true; };
struct WQ4 { static constant constexpr int BITS = 4; static constant constexpr bool SCALED = true; };

template <typename F> struct Raw { uint w[F::BITS / 4]; };              // eight elements
template <typename F> FN void fetch8(thread Raw<F>& r, device const uchar* row, uint k);
template <> FN void fetch8(thread Raw<WF32>& r, device const uchar* row, uint k) {
    const uint4 a = *(device const uint4*)(row + k * 4), b = *(device const uint4*)(row + k * 4 + 16);
    r.w[0] = a.x; r.w[1] = a.y; r.w[2] = a.z; r.w[3] = a.w; r.w[4] = b.x; r.w[5] = b.y; r.w[6] = b.z; r.w[7] = b.w;
}
template <> FN void fetch8(thread Raw<WF16>& r, device const uchar* row, uint k) { const uint4 a = *(device const uint4*)(row + k * 2); r.w[0] = a.x; r.w[1] = a.y; r.w[2] = a.z; r.w[3] = a.w; }
template <> FN void fetch8(thread Raw<WBF16>& r, device const uchar* row, uint k) { const uint4 a = *(device const uint4*)(row + k * 2); r.w[0] = a.x; r.w[1] = a.y; r.w[2] = a.z; r.w[3] = a.w; }
template <> FN void fetch8(thread Raw<WQ8>& r, device const uchar* row, uint k) { const uint2 a = *(device const uint2*)(row + k); r.w[0] = a.x; r.w[1] = a.y; }
template <> FN void fetch8(thread Raw<WQ4>& r, device const uchar* row, uint k) { r.w[0] = *(device const uint*)(row + k / 2); }

// Element i of eight, without its scale.
FN float element(thread const Raw<WF32>& r, int i) { return as_type<float>(r.w[i]); }
FN float element(thread const Raw<WF16>& r, int i) { return i & 1 ? pair_hi(r.w[i / 2]) : pair_lo(r.w[i / 2]); }
FN float element(thread const Raw<WBF16>& r, int i) { return i & 1 ? bf16_hi(r.w[i / 2]) : bf16_lo(r.w[i / 2]); }
// 2^23 + u in a float is u in its lowest bits: a GPU converts few integers at a time.
FN float element(thread const Raw<WQ8>& r, int i) { return magic_byte(r.w[i / 4] ^ 0x80808080u, i % 4) - 8388736.0f; }
FN float element(thread const Raw<WQ4>& r, int i) { return as_type<float>(and_or(r.w[0] >> (i / 2 * 4 + i % 2 * 16), 15u, 0x4b000000u)) - 8388616.0f; }

// s plus the products of eight elements with eight of x, whose sum is sx.
template <typename F> FN float dot8(thread const Raw<F>& r, thread const float* x, float, float s) {
    UNROLL for (int i = 0; i < 8; i++) s = fma(element(r, i), x[i], s);
    return s;
}
// A nibble below the exponent of 1 is 1 + n/16; n - 8 is what is wanted.
FN float dot8(thread const Raw<WQ4>& r, thread const float* x, float sx, float s) {
    float t = 0;
    UNROLL for (int i = 0; i < 8; i++) {
        const int at = i / 2 * 4 + i % 2 * 16;
        const uint w = at <= 19 ? r.w[0] << (19 - at) : r.w[0] >> (at - 19);
        t = fma(as_type<float>(and_or(w, 0x00780000u, 0x3f800000u)), x[i], t);
    }
    return fma(fma(sx, -1.5f, t), 16.0f, s);
}

// Where some of a matrix lies, whole rows or groups of them: elements, scales, and what lies behind all scales of the matrix.
struct Row { device const uchar* data; device const uchar* scales; device const uchar* more; };

// The bytes of n elements in each of the three.
template <typename F> struct Bytes {
    static FN ulong data(ulong n) { return n * F::BITS / 8; }
    static FN ulong scales(ulong n) { return F::SCALED ? n / 16 : 0; }
    static FN ulong more(ulong) { return 0; }
};

// Row at of a matrix [rows][cols], and what comes after it.
template <typename F> FN Row row_at(device const uchar* w, device const ushort* scales, int rows, int cols, ulong at) {
    device const uchar* s = (device const uchar*)scales;
    const ulong n = at * cols;
    return Row{w + Bytes<F>::data(n), s + Bytes<F>::scales(n), s + Bytes<F>::scales(ulong(rows) * cols) + Bytes<F>::more(n)};
}

// The eight elements from column k on, a multiple of 8.
template <typename F> struct Eight {
    Raw<F> raw;
    float scale;
    static FN void fetch(thread Eight& self, Row row, uint k) {
        fetch8(self.raw, row.data, k);
        self.scale = F::SCALED ? half_bits(((device const ushort*)row.scales)[k / 32]) : 1.0f;
    }
    static FN void values(thread const Eight& self, thread float* v) { UNROLL for (int i = 0; i < 8; i++) v[i] = element(self.raw, i) * self.scale; }
};

// What a lane takes of a row at a time: COUNT times eight elements, number e from column first(lane) + offset(e) of every 32·8·COUNT on. From is where it
// begins; base says how many such parts, of all lanes, lie before. Lanes side by side read memory side by side.
template <typename F> struct Taken {
    static constant constexpr int COUNT = 1;
    struct From { device const uchar* data; device const uchar* scales; };
    Eight<F> eight;
    static FN uint first(uint lane) { return lane * 8; }
    static FN uint offset(int) { return 0; }
    static FN From from(Row row, uint lane) { return From{row.data + lane * F::BITS, row.scales + lane / 4 * 2}; }
    static FN void take(thread Taken& self, From at, uint, uint base) { Eight<F>::fetch(self.eight, Row{at.data, at.scales, at.scales}, base * 8); }
    // s plus the products with x [COUNT][8], whose sums are sums [COUNT].
    static FN float sum(thread const Taken& self, uint, thread const float* x, thread const float* sums, float s) {
        return F::SCALED ? fma(dot8(self.eight.raw, x, sums[0], 0.0f), self.eight.scale, s) : dot8(self.eight.raw, x, sums[0], s);
    }
};
