// Metal's 8×8 matrices for the emulator, to run the kernels with the fragments that they have there.
typedef vec<ulong, 2> ulong2;
template <typename T, int R, int C> struct simdgroup_matrix {
    T e[2];
    T (&thread_elements())[2] { return e; }
    const T (&thread_elements() const)[2] { return e; }
};
FN uint matrix_row(uint lane) { return ((lane >> 2) & 4) + ((lane >> 1) & 3); }
FN uint matrix_col(uint lane) { return ((lane >> 3) & 1) * 4 + (lane & 1) * 2; }
template <typename T> FN void simdgroup_load(simdgroup_matrix<T, 8, 8>& m, const T* p, ulong ld, ulong2 = ulong2(0, 0), bool transpose = false) {
    const uint lane = emu::cur->fiber & 31, r = matrix_row(lane), c = matrix_col(lane);
    for (uint i = 0; i < 2; i++) m.e[i] = transpose ? p[(c + i) * ld + r] : p[r * ld + c + i];
    emu::arrive(emu::LOAD);
}
template <typename T, typename U>
FN void simdgroup_multiply_accumulate(simdgroup_matrix<T, 8, 8>& d, const simdgroup_matrix<U, 8, 8>& a, const simdgroup_matrix<U, 8, 8>& b, const simdgroup_matrix<T, 8, 8>& c) {
    float *A, *B; const uint lane = emu::matrices(&A, &B), r = matrix_row(lane), col = matrix_col(lane);
    for (uint i = 0; i < 2; i++) { A[r * 8 + col + i] = float(a.e[i]); B[r * 8 + col + i] = float(b.e[i]); }
    emu::arrive(emu::MATRIX);
    for (uint i = 0; i < 2; i++) {
        float s = 0;
        for (uint k = 0; k < 8; k++) s += A[r * 8 + k] * B[k * 8 + col + i];
        d.e[i] = c.e[i] + s;
    }
}
