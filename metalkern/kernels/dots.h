// Products of rows of a matrix and of activations, a simdgroup's lanes taking every 32nd part of them. acc [R][T] is what this lane has of the sums.
template <typename F, int T, int R>
FN void dots_step(device const float* x, thread const uint* from, thread const Row* row, int cols, uint n, thread float* acc) {
    constexpr int N = Taken<F>::COUNT;
    Taken<F> w[R];
    UNROLL for (int r = 0; r < R; r++) Taken<F>::take(w[r], row[r], n);
    UNROLL for (int i = 0; i < T; i++) {
        float v[8 * N], sums[N];
        UNROLL for (int e = 0; e < N; e++) {
            device const float4* y = (device const float4*)(x + ulong(from[i]) * cols + Taken<F>::column(n, e));
            const float4 a = y[0], b = y[1];
            v[8 * e] = a.x; v[8 * e + 1] = a.y; v[8 * e + 2] = a.z; v[8 * e + 3] = a.w;
            v[8 * e + 4] = b.x; v[8 * e + 5] = b.y; v[8 * e + 6] = b.z; v[8 * e + 7] = b.w;
            sums[e] = ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
        }
        UNROLL for (int r = 0; r < R; r++) acc[r * T + i] = Taken<F>::sum(w[r], v, sums, acc[r * T + i]);
    }
}
// Of R rows of w from first on or, if PAIR, of R/2 rows of each of w and w1 in turn, with rows from [T] of x.
template <typename F, int T, int R, bool PAIR>
FN void dots(device const float* x, thread const uint* from, device const uchar* w, device const ushort* scales, device const uchar* w1, device const ushort* scales1,
             int first, int rows, int cols, uint lane, thread float* acc) {
    Row row[R];
    UNROLL for (int r = 0; r < R; r++) {
        const bool other = PAIR && (r & 1) != 0;
        row[r] = row_at<F>(other ? w1 : w, other ? scales1 : scales, rows, cols, ulong(min(first + (PAIR ? r / 2 : r), rows - 1)));
    }
    UNROLL for (int i = 0; i < R * T; i++) acc[i] = 0;
    const uint count = uint(cols) / (8 * Taken<F>::COUNT);
    if (Taken<F>::COUNT == 1) {
        UNROLL_BY(4) for (uint base = 0; base + lane < count; base += 32) dots_step<F, T, R>(x, from, row, cols, base + lane, acc);
    } else {
        UNROLL_BY(2) for (uint base = 0; base + lane < count; base += 32) dots_step<F, T, R>(x, from, row, cols, base + lane, acc);
    }
}
