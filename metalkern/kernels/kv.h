// Keys and values as blocks hold them (package plane has the layout): the plane of a head is its rows, one for each
// token, and for q8 and q4 then a half for each 32 elements of each row.
struct F16 { static constant constexpr int BITS = 16; };
struct Q8  { static constant constexpr int BITS = 8; };
struct Q4  { static constant constexpr int BITS = 4; };
struct B16 { static constant constexpr int BITS = 16; };                  // bf16: of weights only

FN ulong round16(ulong n) { return (n + 15) & ~ulong(15); }
template <typename F, int D> FN ulong scales_at(uint capacity) { return round16(ulong(capacity) * (D * F::BITS / 8)); }
template <typename F, int D> FN ulong plane_bytes(uint capacity) {
    return scales_at<F, D>(capacity) + (F::BITS == 16 ? ulong(0) : round16(ulong(capacity) * ((D + 31) / 32 * 2)));
}

// One block of a sequence's layer, as the host lists them.
struct Block {
    ulong k, v;          // bytes from the buffer's begin
    int   first;         // position of the first token
    uint  length;        // tokens that hold data
    uint  capacity;      // tokens for which there is room
    uint  tile;          // tiles of TILE keys in the blocks before it
};
constexpr constant uint TILE = 64;

// The elements of a row that one lane reads at once: W, the most up to 16 bytes by which LANES lanes divide a row of D evenly.
template <int D, int LANES, int W> struct Fit {
    static constant constexpr int value = D % (LANES * W) == 0 ? W : Fit<D, LANES, W / 2>::value;
};
template <int D, int LANES> struct Fit<D, LANES, 1> { static constant constexpr int value = 1; };
template <typename F, int D, int LANES> struct Chunk {
    static constant constexpr int W = Fit<D, LANES, 128 / F::BITS>::value;
    static constant constexpr int COUNT = D / (LANES * W);                                           // chunks of a row
    static constant constexpr int WORDS = W * F::BITS / 32 > 0 ? W * F::BITS / 32 : 1;                // of a lane in each
};

template <int BYTES> struct Words { static FN void get(device const uchar* p, thread uint* x) {
    UNROLL for (int i = 0; i < BYTES / 16; i++) { const uint4 r = ((device const uint4*)p)[i]; x[4 * i] = r.x; x[4 * i + 1] = r.y; x[4 * i + 2] = r.z; x[4 * i + 3] = r.w; }
} };
template <> struct Words<8> { static FN void get(device const uchar* p, thread uint* x) { const uint2 r = *(device const uint2*)p; x[0] = r.x; x[1] = r.y; } };
template <> struct Words<4> { static FN void get(device const uchar* p, thread uint* x) { x[0] = *(device const uint*)p; } };
template <> struct Words<2> { static FN void get(device const uchar* p, thread uint* x) { x[0] = *(device const ushort*)p; } };

// Fetches the words that hold elements [d, d+W) of a row.
template <typename F, int W> struct Fetch { static FN void get(device const uchar* row, uint d, thread uint* x) { Words<W * F::BITS / 8>::get(row + d * (F::BITS / 8), x); } };
template <int W> struct Fetch<Q4, W> { static FN void get(device const uchar* row, uint d, thread uint* x) { Words<W / 2>::get(row + d / 2, x); } };
template <> struct Fetch<Q4, 4> { static FN void get(device const uchar* row, uint d, thread uint* x) { x[0] = *(device const uint*)(row + d / 8 * 4) >> ((d & 7) * 2); } };
template <> struct Fetch<Q4, 2> { static FN void get(device const uchar* row, uint d, thread uint* x) { x[0] = *(device const uint*)(row + d / 8 * 4) >> ((d & 7) * 2); } };

// Makes pairs of what was fetched: W/2 of them, times the scale.
template <typename F> struct Unpack;
template <> struct Unpack<F16> { template <int W> static FN void get(thread const uint* x, ushort, thread uint* pairs) { UNROLL for (int i = 0; i < W / 2; i++) pairs[i] = x[i]; } };
template <> struct Unpack<B16> { template <int W> static FN void get(thread const uint* x, ushort, thread uint* pairs) { UNROLL for (int i = 0; i < W / 2; i++) pairs[i] = x[i]; } };
template <> struct Unpack<Q8> { template <int W> static FN void get(thread const uint* x, ushort scale, thread uint* pairs) {
    UNROLL for (int i = 0; i < W / 2; i++) pairs[i] = pair_mul(pair_i8(x[i / 2], i & 1), splat(scale));
} };
template <> struct Unpack<Q4> { template <int W> static FN void get(thread const uint* x, ushort scale, thread uint* pairs) {
    UNROLL for (int i = 0; i < W / 2; i++) pairs[i] = pair_mul(pair_i4(x[i / 4], i & 3), splat(scale));
} };

// What a lane has fetched of some rows: for each, its part of every chunk, and the scales of those parts.
template <typename F, int D, int LANES, int ROWS> struct Fetched {
    typedef Chunk<F, D, LANES> C;
    uint words[ROWS][C::COUNT][C::WORDS];
    ushort scale[F::BITS == 16 ? 1 : ROWS][C::COUNT];
    // Fetches row i: of token + more, more being known to the compiler. plane: of a head, with its scales so many bytes further; part: which of the LANES this one is.
    static FN void row(thread Fetched& self, int i, device const uchar* plane, ulong scales, uint token, int more, uint part) {
        constexpr bool BYTES = C::W * F::BITS % 32 == 0;                                         // else lanes share words
        device const uchar* p = plane + ulong(token) * (D * F::BITS / 8) + (BYTES ? part * (C::W * F::BITS / 8) : 0);
        UNROLL for (int j = 0; j < C::COUNT; j++) Fetch<F, C::W>::get(p, uint(more * D + j * LANES * C::W) + (BYTES ? 0 : part * C::W), self.words[i][j]);
        if (F::BITS < 16) {
            device const ushort* s = (device const ushort*)(plane + scales) + ulong(token) * ((D + 31) / 32);
            UNROLL for (int j = 0; j < C::COUNT; j++) self.scale[F::BITS < 16 ? i : 0][j] = s[more * ((D + 31) / 32) + int((j * LANES * C::W + part * C::W) / 32)];
        }
    }
    // Makes the pairs of row i's chunk j.
    static FN void pairs(thread const Fetched& self, int i, int j, thread uint* x) { Unpack<F>::template get<C::W>(self.words[i][j], self.scale[F::BITS < 16 ? i : 0][j], x); }
};
// Halves of a plane that is not quantized, for a head size that only the host knows.
FN ulong plane_halves(uint capacity, uint dim) { return round16(ulong(capacity) * dim * 2) / 2; }
