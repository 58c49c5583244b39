// Rows of weights as they are stored: W<format>::get reads the eight elements from column k on, k a multiple of 8. Scales of q8 and
// q4 are halves, one for each 32 columns; q4 lies in words as package plane has it.
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
// 0x4b000000 | u is 2^23 + u: no conversion of integers, of which a GPU does few at a time.
FN float element(thread const Raw<WQ8>& r, int i) { return as_type<float>(0x4b000000u | (((r.w[i / 4] ^ 0x80808080u) >> (i % 4 * 8)) & 0xffu)) - 8388736.0f; }
FN float element(thread const Raw<WQ4>& r, int i) { return as_type<float>(0x4b000000u | ((r.w[0] >> (i / 2 * 4 + i % 2 * 16)) & 15u)) - 8388616.0f; }
