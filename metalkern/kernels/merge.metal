// Merges partials, of splits on this device or of other nodes alike, in their order; see package attention.
struct MergeParams {
    int parts;
    int rows;            // queries times heads
    int dim;             // of a head, at most 256
    int into;            // whether out holds a part already, which comes first
    int finish;          // whether to divide: out is then attention itself, and out_m and out_l are not written
    int sinks;           // of finish: the heads, if each has a sink in sink, else 0
};
// A group takes one row. A thread has one element of all parts or, of heads of up to 128 or 64 elements, of every second or fourth. What the first parts hold is asked for before
// it is known what each counts for. A part is empty if its l is 0; one of NaN is not. part_o: [parts][rows][dim]; part_m, part_l: [parts][rows].
KERNEL(merge, 256, 1)(BUF(0, const float, part_o), BUF(1, const float, part_m), BUF(2, const float, part_l), BUF(3, float, out), BUF(4, float, out_m), BUF(5, float, out_l),
                      BUF(6, const float, sink), ARG(7, MergeParams, P) GRID_ARGS) {
    const Ctx t = GRID_SOON;
    SHARED(float2, weight, 256);                     // of each part: its factor, and that times l
    SHARED(float, other, 256);
    constexpr int TOGETHER = 17;                     // that are on their way at the same time
    const ulong row = t.tg.x;
    const int each = P.dim <= 64 ? 4 : P.dim <= 128 ? 2 : 1, wide = 256 / each, mine = int(t.tid) / wide, d = int(t.tid) % wide;
    const bool have = d < P.dim;
    float o[TOGETHER];
    UNROLL for (int j = 0; j < TOGETHER; j++) {
        const int i = mine + j * each;
        o[j] = have && i < P.parts ? part_o[(ulong(i) * P.rows + row) * P.dim + d] : 0.0f;
    }
    float top = LOWEST;
    for (int i = int(t.lane); i < P.parts; i += 32) {
        const float l = part_l[ulong(i) * P.rows + row], m = part_m[ulong(i) * P.rows + row];
        if (l != 0.0f) top = max(top, m);
    }
    top = simd_max(top);
    float sum = 0, rest = 0, v = 0;                  // rest: of the sum, what this lane's parts add
    if (P.into) {
        const float l = out_l[row], m = l == 0.0f ? LOWEST : out_m[row];
        top = max(top, m);
        const float f = l == 0.0f ? 0.0f : fexp2((m - top) * LOG2E);
        sum = l * f;
        if (f > 0.0f && have && mine == 0) v = out[row * P.dim + d] * f;
    }
    for (int base = 0; base < P.parts; base += 256) {
        const int n = min(256, P.parts - base);
        if (int(t.tid) < n) {
            const ulong at = ulong(base + int(t.tid)) * P.rows + row;
            const float l = part_l[at], f = l == 0.0f ? 0.0f : fexp2((part_m[at] - top) * LOG2E);
            weight[t.tid] = float2(f, f * l);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (int i = int(t.lane); i < n; i += 32) rest += weight[i].y;
        for (int i = mine; i < n; i += TOGETHER * each) {
            if (base + i != mine)
                UNROLL for (int j = 0; j < TOGETHER; j++) {
                    const int k = i + j * each;
                    o[j] = have && k < n ? part_o[(ulong(base + k) * P.rows + row) * P.dim + d] : 0.0f;
                }
            UNROLL for (int j = 0; j < TOGETHER; j++) {
                const int k = i + j * each;
                if (k < n && weight[k].x > 0.0f) v = fma(o[j], weight[k].x, v);
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    sum += simd_sum(rest);
    if (each > 1) {
        other[t.tid] = v;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (mine == 0) for (int i = 1; i < each; i++) v += other[i * wide + d];
    }
    if (P.finish) {
        const float s = P.sinks > 0 ? sink[row % P.sinks] : LOWEST, base = max(top, s);
        const float down = fexp2((top - base) * LOG2E), all = sum * down + (P.sinks > 0 ? fexp2((s - base) * LOG2E) : 0.0f);
        v = sum == 0.0f ? 0.0f : fdivide(v * down, all);
    }
    if (have && mine == 0) out[row * P.dim + d] = v;
    if (t.tid == 0 && !P.finish) { out_m[row] = sum == 0.0f ? neg_inf() : top; out_l[row] = sum; }
}
