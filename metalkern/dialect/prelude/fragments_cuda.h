// Fragments of the 16×8×16 matrix step C[16][8] += A[16][16]·B[16][8], in the register layout of
// mma.sync.m16n8k16 (PTX ISA, "Matrix fragments for mma.m16n8k16"). T is half or bf16; sums are float.
//
// A simdgroup owns a fragment together. A lane's element e of a FragC is at (c_row(lane, e), c_col(lane, e)); elements e and e^1
// are neighbours in a row, and e and e^2 are eight rows apart. Pair p of a FragA is at row a_row(lane, p) and columns
// a_col(lane, p) and the one after it.
template <typename T> struct FragA { uint r[4]; };
template <typename T> struct FragB { uint r[2]; };
struct FragC { float e[4]; };

FN uint c_row(uint lane, int e) { return (lane >> 2) + (e >> 1) * 8; }
FN uint c_col(uint lane, int e) { return (lane & 3) * 2 + (e & 1); }
FN uint a_row(uint lane, int p) { return (lane >> 2) + (p & 1) * 8; }
FN uint a_col(uint lane, int p) { return (lane & 3) * 2 + (p >> 1) * 8; }
FN float c_get(thread const FragC& c, int e) { return c.e[e]; }
FN void c_set(thread FragC& c, int e, float v) { c.e[e] = v; }
FN void c_zero(thread FragC& c) { UNROLL for (int e = 0; e < 4; e++) c.e[e] = 0; }
// Over the lanes that share a row.
FN float row_max(float v) { v = max(v, simd_shuffle_xor(v, 1)); return max(v, simd_shuffle_xor(v, 2)); }
FN float row_sum(float v) { v += simd_shuffle_xor(v, 1); return v + simd_shuffle_xor(v, 2); }
FN void a_pair(thread FragA<half>& f, int p, float x, float y) { f.r[p] = pair_of(x, y); }
template <typename T> FN void a_bits(thread FragA<T>& f, int p, uint bits) { f.r[p] = bits; }        // two T

// How a lane reads rows of keys or values straight from a buffer into FragB, 16 bytes at a time. The order in which a
// sum runs over the elements of a head is free, and so is the order of the columns of a result: so a lane's W elements lie side by side.
//
// Keys: the 8 columns of B are 8 keys, and a chunk is KEY_LANES·W elements of each. A lane reads KEY_ROWS keys, key_row(lane, i),
// at element key_part(lane)·W of the chunk, and key_fragment makes the chunk's fragments f of it; in fragment f, row k of B is element key_dim<W>(f, k).
// Values: the 16 rows of B are 16 keys, a chunk is VALUE_LANES·W elements, a lane reads VALUE_ROWS rows; column n of
// fragment t is element value_dim<W>(t, n).
constexpr constant int KEY_LANES = 4, KEY_ROWS = 1, VALUE_LANES = 8, VALUE_ROWS = 4;
FN uint key_row(uint lane, int) { return lane >> 2; }
FN uint key_part(uint lane) { return lane & 3; }
FN uint value_row(uint lane, int i) { return (lane & 3) * 2 + (i & 1) + (i >> 1) * 8; }
FN uint value_part(uint lane) { return lane >> 2; }
template <int W> FN uint key_dim(int f, uint k) { return ((k & 7) >> 1) * W + 4 * f + (k & 1) + 2 * (k >> 3); }
template <int W> FN uint value_dim(int t, uint n) { return n * W + t; }
// x: [KEY_ROWS][W/2] or [VALUE_ROWS][W/2] pairs
template <int W, typename T> FN void key_fragment(thread FragB<T>& b, int f, thread const uint* x) { b.r[0] = x[2 * f]; b.r[1] = x[2 * f + 1]; }
template <int W, typename T> FN void value_fragment(thread FragB<T>& b, int t, thread const uint* x) {
    const int i = t / 2;
    UNROLL for (int j = 0; j < 2; j++) {
        const uint u = x[(2 * j) * (W / 2) + i], v = x[(2 * j + 1) * (W / 2) + i];
        b.r[j] = t & 1 ? zip_hi(u, v) : zip_lo(u, v);
    }
}

#if !defined(DIALECT_CPP)
template <typename T> FN void load_a(thread FragA<T>& f, threadgroup const T* p, uint ld, uint lane) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(f.r[0]), "=r"(f.r[1]), "=r"(f.r[2]), "=r"(f.r[3]) : "r"(shared_address(p + (lane & 15) * ld + (lane >> 4) * 8)) : "memory");
}
template <typename T> FN void load_b2_nk(thread FragB<T>& f, thread FragB<T>& g, threadgroup const T* p, uint ld, uint lane) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(f.r[0]), "=r"(f.r[1]), "=r"(g.r[0]), "=r"(g.r[1]) : "r"(shared_address(p + ((lane & 7) + (lane >> 4) * 8) * ld + ((lane >> 3) & 1) * 8)) : "memory");
}
template <typename T> FN void load_b2_kn(thread FragB<T>& f, thread FragB<T>& g, threadgroup const T* p, uint ld, uint lane) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
        : "=r"(f.r[0]), "=r"(f.r[1]), "=r"(g.r[0]), "=r"(g.r[1]) : "r"(shared_address(p + (lane & 15) * ld + (lane >> 4) * 8)) : "memory");
}
#define MMA(T, name) FN void mma(thread FragC& c, thread const FragA<T>& a, thread const FragB<T>& b) {                        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
        : "+f"(c.e[0]), "+f"(c.e[1]), "+f"(c.e[2]), "+f"(c.e[3]) : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1])); }
MMA(half, "f16")
MMA(bf16, "bf16")
#else
template <typename T> FN uint two(const T* p, const T* q) { ushort x, y; memcpy(&x, p, 2); memcpy(&y, q, 2); return uint(x) | uint(y) << 16; }
FN float element(const FragA<half>& a, int e) { return e & 1 ? pair_hi(a.r[e >> 1]) : pair_lo(a.r[e >> 1]); }
FN float element(const FragB<half>& b, int e) { return e & 1 ? pair_hi(b.r[e >> 1]) : pair_lo(b.r[e >> 1]); }
FN float element(const FragA<bf16>& a, int e) { return e & 1 ? bf16_hi(a.r[e >> 1]) : bf16_lo(a.r[e >> 1]); }
FN float element(const FragB<bf16>& b, int e) { return e & 1 ? bf16_hi(b.r[e >> 1]) : bf16_lo(b.r[e >> 1]); }
template <typename T> FN void load_a(FragA<T>& f, const T* p, uint ld, uint lane) {
    for (int i = 0; i < 4; i++) { const T* q = p + a_row(lane, i) * ld + a_col(lane, i); f.r[i] = two(q, q + 1); }
    emu::arrive(emu::LOAD);
}
template <typename T> FN void load_b2_nk(FragB<T>& f, FragB<T>& g, const T* p, uint ld, uint lane) {
    for (int i = 0; i < 2; i++) { const T* q = p + (lane >> 2) * ld + a_col(lane, 2 * i); f.r[i] = two(q, q + 1); g.r[i] = two(q + 8 * ld, q + 8 * ld + 1); }
    emu::arrive(emu::LOAD);
}
template <typename T> FN void load_b2_kn(FragB<T>& f, FragB<T>& g, const T* p, uint ld, uint lane) {
    for (int i = 0; i < 2; i++) { const T* q = p + a_col(lane, 2 * i) * ld + (lane >> 2); f.r[i] = two(q, q + ld); g.r[i] = two(q + 8, q + ld + 8); }
    emu::arrive(emu::LOAD);
}
template <typename T> FN void mma(FragC& c, const FragA<T>& a, const FragB<T>& b) {
    float *A, *B; const uint lane = emu::matrices(&A, &B);
    for (int e = 0; e < 8; e++) A[a_row(lane, e >> 1) * 16 + a_col(lane, e >> 1) + (e & 1)] = element(a, e);
    for (int e = 0; e < 4; e++) B[(lane >> 2) * 16 + a_col(lane, e & 2) + (e & 1)] = element(b, e);
    emu::arrive(emu::MATRIX);
    for (int e = 0; e < 4; e++) {
        const float *x = A + c_row(lane, e) * 16, *y = B + c_col(lane, e) * 16;
        float s = 0;
        for (int k = 0; k < 16; k++) s += x[k] * y[k];
        c.e[e] += s;
    }
}
#endif
// A of the next product from two fragments of the last one, side by side, as two terms: what rounds to halves, and what that leaves over.
FN void a_pair_terms(thread FragA<half>& hi, thread FragA<half>& lo, int p, float x, float y) {
    hi.r[p] = pair_of(x, y);
    lo.r[p] = pair_of(x - pair_lo(hi.r[p]), y - pair_hi(hi.r[p]));
}
FN void a_from_c(thread FragA<half>& hi, thread FragA<half>& lo, thread const FragC& c0, thread const FragC& c1) {
    a_pair_terms(hi, lo, 0, c0.e[0], c0.e[1]); a_pair_terms(hi, lo, 1, c0.e[2], c0.e[3]);
    a_pair_terms(hi, lo, 2, c1.e[0], c1.e[1]); a_pair_terms(hi, lo, 3, c1.e[2], c1.e[3]);
}
