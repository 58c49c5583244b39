// Products of rows of a matrix and of activations, a simdgroup's lanes taking every 32nd part of them. acc [R][T] is what this lane has of the sums.
// at and y are where the lane begins in rows of the matrix and of x.
template <typename F, int T, int R>
FN void dots_step(thread const typename Taken<F>::From* at, device const float* const thread* y, uint lane, uint base, thread float* acc) {
    constexpr int N = Taken<F>::COUNT;
    Taken<F> w[R];
    UNROLL for (int r = 0; r < R; r++) Taken<F>::take(w[r], at[r], lane, base);
    UNROLL for (int i = 0; i < T; i++) {
        float v[8 * N], sums[N];
        UNROLL for (int e = 0; e < N; e++) {
            device const float4* from = (device const float4*)(y[i] + base * (8 * N) + Taken<F>::offset(e));
            const float4 a = from[0], b = from[1];
            v[8 * e] = a.x; v[8 * e + 1] = a.y; v[8 * e + 2] = a.z; v[8 * e + 3] = a.w;
            v[8 * e + 4] = b.x; v[8 * e + 5] = b.y; v[8 * e + 6] = b.z; v[8 * e + 7] = b.w;
            sums[e] = ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
        }
        UNROLL for (int r = 0; r < R; r++) acc[r * T + i] = Taken<F>::sum(w[r], lane, v, sums, acc[r * T + i]);
    }
}
// Of R rows of w from first on or, if PAIR, of R/2 rows of each of w and w1 in turn, with rows from [T] of x.
template <typename F, int T, int R, bool PAIR>
FN void dots(device const float* x, thread const uint* from, device const uchar* w, device const ushort* scales, device const uchar* w1, device const ushort* scales1,
             int first, int rows, int cols, uint lane, thread float* acc) {
    typename Taken<F>::From at[R];
    device const float* y[T];
    UNROLL for (int r = 0; r < R; r++) {
        const bool other = PAIR && (r & 1) != 0;
        at[r] = Taken<F>::from(row_at<F>(other ? w1 : w, other ? scales1 : scales, rows, cols, ulong(min(first + (PAIR ? r / 2 : r), rows - 1))), lane);
    }
    UNROLL for (int i = 0; i < T; i++) y[i] = x + ulong(from[i]) * cols + Taken<F>::first(lane);
    UNROLL for (int i = 0; i < R * T; i++) acc[i] = 0;
    const uint count = uint(cols) / (8 * Taken<F>::COUNT);
    if (Taken<F>::COUNT == 1) {
        UNROLL_BY(4) for (uint base = 0; base + lane < count; base += 32) dots_step<F, T, R>(at, y, lane, base, acc);
    } else {
        UNROLL_BY(2) for (uint base = 0; base + lane < count; base += 32) dots_step<F, T, R>(at, y, lane, base, acc);
    }
}
