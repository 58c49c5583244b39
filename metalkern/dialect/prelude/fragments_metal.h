// The fragments of fragments_cuda.h, of 8×8 simdgroup matrices. Which elements of one a lane holds is not in Metal's document; MLX, PyTorch
// and llama.cpp rely on what is assumed here: two neighbours in row frag_row(lane) from column frag_col(lane) on.
template <typename T> struct FragA { simdgroup_matrix<T, 8, 8> m[2][2]; };
template <typename T> struct FragB { simdgroup_matrix<T, 8, 8> m[2]; };
struct FragC { simdgroup_matrix<float, 8, 8> m[2]; };

FN uint frag_row(uint lane) { return ((lane >> 2) & 4) + ((lane >> 1) & 3); }
FN uint frag_col(uint lane) { return ((lane >> 3) & 1) * 4 + (lane & 1) * 2; }
FN uint c_row(uint lane, int e) { return frag_row(lane) + (e >> 1) * 8; }
FN uint c_col(uint lane, int e) { return frag_col(lane) + (e & 1); }
FN uint a_row(uint lane, int p) { return frag_row(lane) + (p & 1) * 8; }
FN uint a_col(uint lane, int p) { return frag_col(lane) + (p >> 1) * 8; }
FN float c_get(thread const FragC& c, int e) { return c.m[e >> 1].thread_elements()[e & 1]; }
FN void c_set(thread FragC& c, int e, float v) { c.m[e >> 1].thread_elements()[e & 1] = v; }
FN void c_zero(thread FragC& c) { UNROLL for (int e = 0; e < 4; e++) c_set(c, e, 0); }
FN float row_max(float v) { v = max(v, simd_shuffle_xor(v, ushort(1))); return max(v, simd_shuffle_xor(v, ushort(8))); }
FN float row_sum(float v) { v += simd_shuffle_xor(v, ushort(1)); return v + simd_shuffle_xor(v, ushort(8)); }
FN void a_pair(thread FragA<half>& f, int p, float x, float y) {
    f.m[p & 1][p >> 1].thread_elements()[0] = half(x);
    f.m[p & 1][p >> 1].thread_elements()[1] = half(y);
}

constexpr constant int KEY_LANES = 8, KEY_ROWS = 2, VALUE_LANES = 4, VALUE_ROWS = 2;
FN uint key_row(uint lane, int i) { return frag_col(lane) + i; }
FN uint key_part(uint lane) { return frag_row(lane); }
FN uint value_row(uint lane, int i) { return frag_row(lane) + 8 * i; }
FN uint value_part(uint lane) { return frag_col(lane) / 2; }
template <int W> FN uint key_dim(int f, uint k) { return (k & 7) * W + 2 * f + (k >> 3); }
template <int W> FN uint value_dim(int t, uint n) { return (n >> 1) * W + 2 * t + (n & 1); }
template <typename T> FN void set_pair(thread simdgroup_matrix<T, 8, 8>& m, uint p) {
    m.thread_elements()[0] = as_type<vec<T, 2>>(p).x;
    m.thread_elements()[1] = as_type<vec<T, 2>>(p).y;
}
template <typename T> FN void a_bits(thread FragA<T>& f, int p, uint bits) { set_pair(f.m[p & 1][p >> 1], bits); }
template <int W, typename T> FN void key_fragment(thread FragB<T>& b, int f, thread const uint* x) {
    set_pair(b.m[0], zip_lo(x[f], x[W / 2 + f]));
    set_pair(b.m[1], zip_hi(x[f], x[W / 2 + f]));
}
template <int W, typename T> FN void value_fragment(thread FragB<T>& b, int t, thread const uint* x) {
    set_pair(b.m[0], x[t]);
    set_pair(b.m[1], x[W / 2 + t]);
}

template <typename T> FN void load_a(thread FragA<T>& f, threadgroup const T* p, uint ld, uint) {
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int j = 0; j < 2; j++) simdgroup_load(f.m[i][j], p + i * 8 * ld + j * 8, ld);
}
// Memory is [n][k], 16 of each; or [k][n].
template <typename T> FN void load_b2_nk(thread FragB<T>& f, thread FragB<T>& g, threadgroup const T* p, uint ld, uint) {
    UNROLL for (int i = 0; i < 2; i++) {
        simdgroup_load(f.m[i], p + i * 8, ld, ulong2(0, 0), true);
        simdgroup_load(g.m[i], p + 8 * ld + i * 8, ld, ulong2(0, 0), true);
    }
}
template <typename T> FN void load_b2_kn(thread FragB<T>& f, thread FragB<T>& g, threadgroup const T* p, uint ld, uint) {
    UNROLL for (int i = 0; i < 2; i++) {
        simdgroup_load(f.m[i], p + i * 8 * ld, ld);
        simdgroup_load(g.m[i], p + i * 8 * ld + 8, ld);
    }
}
template <typename T> FN void mma(thread FragC& c, thread const FragA<T>& a, thread const FragB<T>& b) {
    UNROLL for (int i = 0; i < 2; i++) UNROLL for (int k = 0; k < 2; k++) simdgroup_multiply_accumulate(c.m[i], a.m[i][k], b.m[k], c.m[i]);
}
FN void a_from_c(thread FragA<half>& hi, thread FragA<half>& lo, thread const FragC& c0, thread const FragC& c1) {
    UNROLL for (int p = 0; p < 4; p++) UNROLL for (int e = 0; e < 2; e++) {
        const float x = c_get(p < 2 ? c0 : c1, p % 2 * 2 + e);
        const half h = half(x);
        hi.m[p & 1][p >> 1].thread_elements()[e] = h;
        lo.m[p & 1][p >> 1].thread_elements()[e] = half(x - float(h));
    }
}
