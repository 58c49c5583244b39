// Merges partials, of splits on this device or of other nodes alike, in their order; see package attention.
struct MergeParams {
    int parts;
    int rows;            // queries times heads
    int dim;             // of a head, at most 256
    int into;            // whether out holds a part already, which comes first
    int finish;          // whether to divide: out is then attention itself, and out_m and out_l are not written
    int sinks;           // of finish: the heads, if each has a sink in sink, else 0
};
// A group takes one row, a thread an element. part_o: [parts][rows][dim]; part_m, part_l: [parts][rows].
KERNEL(merge, 256, 1)(BUF(0, const float, part_o), BUF(1, const float, part_m), BUF(2, const float, part_l), BUF(3, float, out), BUF(4, float, out_m), BUF(5, float, out_l),
                      BUF(6, const float, sink), ARG(7, MergeParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float2, weight, 256);                     // of each part: its factor, and that times l
    const ulong row = t.tg.x;
    float top = LOWEST;
    for (int i = int(t.lane); i < P.parts; i += 32) if (part_l[ulong(i) * P.rows + row] > 0.0f) top = max(top, part_m[ulong(i) * P.rows + row]);
    top = simd_max(top);
    float sum = 0, v = 0;
    if (P.into) {
        const float l = out_l[row], m = l > 0.0f ? out_m[row] : LOWEST;
        top = max(top, m);
        const float f = l > 0.0f ? fexp2((m - top) * LOG2E) : 0.0f;
        sum = l * f;
        if (f > 0.0f && int(t.tid) < P.dim) v = out[row * P.dim + t.tid] * f;
    }
    for (int base = 0; base < P.parts; base += 256) {
        const int n = min(256, P.parts - base);
        if (int(t.tid) < n) {
            const ulong at = ulong(base + int(t.tid)) * P.rows + row;
            const float l = part_l[at], f = l > 0.0f ? fexp2((part_m[at] - top) * LOG2E) : 0.0f;
            weight[t.tid] = float2(f, f * l);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        constexpr int TOGETHER = 16;                 // that are on their way at the same time
        for (int i = 0; i < n; i += TOGETHER) {
            float o[TOGETHER];
            UNROLL for (int j = 0; j < TOGETHER; j++)
                o[j] = i + j < n && weight[min(i + j, n - 1)].x > 0.0f && int(t.tid) < P.dim ? part_o[(ulong(base + i + j) * P.rows + row) * P.dim + t.tid] : 0.0f;
            UNROLL for (int j = 0; j < TOGETHER; j++) if (i + j < n) {
                sum += weight[i + j].y;
                v = fma(o[j], weight[i + j].x, v);
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (P.finish) {
        const float s = P.sinks > 0 ? sink[row % P.sinks] : LOWEST, base = max(top, s);
        const float rest = fexp2((top - base) * LOG2E), all = sum * rest + (P.sinks > 0 ? fexp2((s - base) * LOG2E) : 0.0f);
        v = sum > 0.0f ? fdivide(v * rest, all) : 0.0f;
    }
    if (int(t.tid) < P.dim) out[row * P.dim + t.tid] = v;
    if (t.tid == 0 && !P.finish) { out_m[row] = sum > 0.0f ? top : neg_inf(); out_l[row] = sum; }
}
