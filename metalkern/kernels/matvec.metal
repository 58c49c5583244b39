// out[T][rows] = x[T][cols]·wᵀ for a few tokens, at the speed of memory: each byte of w is read once. A simdgroup takes R rows of w,
// and its lanes every 32nd eight columns of them.
struct MatvecParams {
    int rows, cols;      // of w; cols a multiple of 8
    int tokens;          // at most T
    int add;             // whether out is added to
};
template <typename F, int T, int R, int NSG>
FN void matvec(device const float* x, device const uchar* w, device const ushort* scales, device float* out, constant MatvecParams& P, Ctx t) {
    const int first = int(t.tg.x * NSG + t.sg) * R;
    if (first >= P.rows) return;
    const ulong stride = ulong(P.cols) * F::BITS / 8;
    float acc[R][T];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < T; i++) acc[r][i] = 0;
    UNROLL_BY(4) for (int k = int(t.lane) * 8; k < P.cols; k += 256) {
        Raw<F> raw[R];
        float scale[R];
        UNROLL for (int r = 0; r < R; r++) {
            const int row = min(first + r, P.rows - 1);
            fetch8(raw[r], w + ulong(row) * stride, uint(k));
            if (F::SCALED) scale[r] = half_bits(scales[ulong(row) * (P.cols / 32) + k / 32]);
        }
        UNROLL for (int i = 0; i < T; i++) {
            device const float4* y = (device const float4*)(x + ulong(min(i, P.tokens - 1)) * P.cols + k);
            const float4 a = y[0], b = y[1];
            const float v[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
            const float sum = ((a.x + a.y) + (a.z + a.w)) + ((b.x + b.y) + (b.z + b.w));
            UNROLL for (int r = 0; r < R; r++) acc[r][i] = F::SCALED ? fma(dot8(raw[r], v, sum, 0.0f), scale[r], acc[r][i]) : dot8(raw[r], v, sum, acc[r][i]);
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int i = 0; i < T; i++) {
        const float s = simd_sum(acc[r][i]);
        if (t.lane == 0 && first + r < P.rows && i < P.tokens) {
            device float* o = out + ulong(i) * P.rows + first + r;
            *o = P.add ? *o + s : s;
        }
    }
}
#define MATVEC(name, F, T, R, NSG)                                                                                     \
KERNEL(name, NSG * 32, 1)(BUF(0, const float, x), BUF(1, const uchar, w), BUF(2, const ushort, scales), BUF(3, float, out), ARG(4, MatvecParams, P) GRID_ARGS) { \
    matvec<F, T, R, NSG>(x, w, scales, out, P, GRID);                                                                  \
}
