// Operations on rows of activations.

// dst[i] = row ids[i] of the table, a group each.
struct EmbedParams { int rows, cols; };
template <typename F> FN void embed(device float* dst, device const uchar* table, device const ushort* scales, device const int* ids, constant EmbedParams& P, Ctx t) {
    const int id = ids[t.tg.x];
    const ulong row = ulong(id >= 0 && id < P.rows ? id : 0);
    const Row src = row_at<F>(table, scales, P.rows, P.cols, row);
    for (int k = int(t.tid) * 8; k < P.cols; k += 128 * 8) {
        Eight<F> e;
        float v[8];
        Eight<F>::fetch(e, src, uint(k));
        Eight<F>::values(e, v);
        UNROLL for (int i = 0; i < 8; i++) dst[ulong(t.tg.x) * P.cols + k + i] = v[i];
    }
}
#define EMBED(name, F)                                                                                                 \
KERNEL(name, 128, 1)(BUF(0, float, dst), BUF(1, const uchar, table), BUF(2, const ushort, scales), BUF(3, const int, ids), ARG(4, EmbedParams, P) GRID_ARGS) { \
    embed<F>(dst, table, scales, ids, P, GRID);                                                                        \
}

// dst = x/sqrt(mean(x²)+eps)·(weight+offset), row by row; dst may be x. A simdgroup takes a row, or a whole group does. What a thread has of the first
// columns is read at once.
struct NormParams { int rows, cols; float eps, offset; };
template <bool WIDE> FN void norm(device float* dst, device const float* x, device const float* weight, constant NormParams& P, threadgroup float* sums, Ctx t) {
    constexpr int N = 16, STEP = WIDE ? 256 : 32;
    const int row = WIDE ? int(t.tg.x) : int(t.tg.x * 8 + t.sg), from = WIDE ? int(t.tid) : int(t.lane), cols = row < P.rows ? P.cols : 0;
    device const float* in = x + ulong(row) * P.cols;
    device float* out = dst + ulong(row) * P.cols;
    float v[N], w[N], s = 0;
    UNROLL for (int i = 0; i < N; i++) {
        const bool have = from + i * STEP < cols;
        v[i] = have ? in[from + i * STEP] : 0.0f;
        w[i] = have ? weight[from + i * STEP] : 0.0f;
    }
    UNROLL for (int i = 0; i < N; i++) s = fma(v[i], v[i], s);
    for (int k = from + N * STEP; k < cols; k += STEP) { const float u = in[k]; s = fma(u, u, s); }
    s = simd_sum(s);
    if (WIDE) {
        if (t.lane == 0) sums[t.sg] = s;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        s = 0;
        for (int i = 0; i < 8; i++) s += sums[i];
    }
    const float f = frsqrt(s / float(P.cols) + P.eps);
    UNROLL for (int i = 0; i < N; i++) if (from + i * STEP < cols) out[from + i * STEP] = v[i] * f * (w[i] + P.offset);
    for (int k = from + N * STEP; k < cols; k += STEP) out[k] = in[k] * f * (weight[k] + P.offset);
}
KERNEL(norm_wide, 256, 1)(BUF(0, float, dst), BUF(1, const float, x), BUF(2, const float, weight), ARG(3, NormParams, P) GRID_ARGS) {
    SHARED(float, sums, 8);
    norm<true>(dst, x, weight, P, sums, GRID);
}
KERNEL(norm_narrow, 256, 1)(BUF(0, float, dst), BUF(1, const float, x), BUF(2, const float, weight), ARG(3, NormParams, P) GRID_ARGS) {
    SHARED(float, sums, 8);
    norm<false>(dst, x, weight, P, sums, GRID);
}

// Rotates the pairs (step*i, step*i+gap) of each head of x [rows][heads][dim] and of y [rows][others][dim] by the angles of cos and sin [rows][pairs]. A thread
// a pair.
struct RopeParams { int rows, heads, others, dim, pairs, step, gap; };
KERNEL(rope, 256, 1)(BUF(0, float, x), BUF(1, float, y), BUF(2, const float, cosine), BUF(3, const float, sine), ARG(4, RopeParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid, each = ulong(P.heads + P.others) * P.pairs;
    if (i >= each * P.rows) return;
    const ulong row = i / each;
    const int head = int(i % each) / P.pairs, pair = int(i % each) % P.pairs;
    device float* p = (head < P.heads ? x + (row * P.heads + head) * P.dim : y + (row * P.others + (head - P.heads)) * P.dim) + pair * P.step;
    const float a = p[0], b = p[P.gap], c = cosine[row * P.pairs + pair], s = sine[row * P.pairs + pair];
    p[0] = a * c - b * s;
    p[P.gap] = b * c + a * s;
}

// Elementwise: dst is [rows][cols], n elements in all.
struct ElementParams { ulong n; uint cols; };
KERNEL(add, 256, 1)(BUF(0, float, dst), BUF(1, const float, x), ARG(2, ElementParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    if (i < P.n) dst[i] += x[i];
}
KERNEL(add_bias, 256, 1)(BUF(0, float, dst), BUF(1, const float, bias), ARG(2, ElementParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    if (i < P.n) dst[i] += bias[i % P.cols];
}
// dst = silu(gate)·up; dst may be gate.
KERNEL(swiglu, 256, 1)(BUF(0, float, dst), BUF(1, const float, gate), BUF(2, const float, up), ARG(3, ElementParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    if (i >= P.n) return;
    const float g = gate[i];
    dst[i] = fdivide(g, 1.0f + fexp2(-g * LOG2E)) * up[i];
}
// A part without keys: o = 0, m = -Inf, l = 0, over rows·heads of cols elements.
KERNEL(reset, 256, 1)(BUF(0, float, o), BUF(1, float, m), BUF(2, float, l), ARG(3, ElementParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    if (i < P.n) o[i] = 0;
    if (i < P.n / P.cols) { m[i] = neg_inf(); l[i] = 0; }
}
// Copies n groups of 16 bytes: what the bandwidth of memory is measured with.
KERNEL(copy16, 256, 1)(BUF(0, uint4, dst), BUF(1, const uint4, src), ARG(2, ElementParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong base = ulong(t.tg.x) * 1024 + t.tid;
    uint4 x[4];
    UNROLL for (int i = 0; i < 4; i++) if (base + i * 256 < P.n) x[i] = src[base + i * 256];
    UNROLL for (int i = 0; i < 4; i++) if (base + i * 256 < P.n) dst[base + i * 256] = x[i];
}
