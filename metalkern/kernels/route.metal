// Which experts tokens go to, and the order in which experts compute: everything stays on the device.

// A logit that is not finite: by its bits, which no compiler's arithmetic takes for granted.
FN bool odd(float v) { return (as_type<uint>(v) & 0x7f800000u) == 0x7f800000u; }

// The active experts of each token, those of the largest of its logits [experts], of equal ones the first, and their shares of the softmax
// over all, or over those chosen. A simdgroup takes a token.
struct RouteParams { int tokens, experts, active, normalized; };
KERNEL(route, 256, 1)(BUF(0, const float, logits), BUF(1, int, chosen), BUF(2, float, weights), ARG(3, RouteParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const int token = int(t.tg.x * 8 + t.sg), lane = int(t.lane);
    if (token >= P.tokens) return;
    device const float* x = logits + ulong(token) * P.experts;
    device int* to = chosen + ulong(token) * P.active;
    device float* w = weights + ulong(token) * P.active;
    bool bad = false;
    for (int i = lane; i < P.experts; i += 32) bad = bad || odd(x[i]);
    if (simd_any(bad)) {
        for (int i = lane; i < P.active; i += 32) { to[i] = i; w[i] = as_type<float>(0x7fc00000u); }
        return;
    }
    float last = 0, most = 0, sum = 0;                                   // of the one chosen last, of the first, and over all chosen
    int at = -1;
    for (int n = 0; n < P.active; n++) {
        float top = neg_inf();
        int place = -1;
        for (int i = lane; i < P.experts; i += 32) {                     // those behind the last in the order of (logit, place)
            const float v = x[i];
            if ((at < 0 || v < last || (v == last && i > at)) && v > top) { top = v; place = i; }
        }
        last = simd_max(top);
        at = int(-simd_max(place >= 0 && top == last ? -float(place) : LOWEST));
        if (n == 0) most = last;
        const float e = fexp2((last - most) * LOG2E);
        sum += e;
        if (lane == n % 32) { to[n] = at; w[n] = e; }
    }
    if (!P.normalized) {
        sum = 0;
        for (int i = lane; i < P.experts; i += 32) sum += fexp2((x[i] - most) * LOG2E);
        sum = simd_sum(sum);
    }
    for (int n = lane; n < P.active; n += 32) w[n] = fdivide(w[n], sum); // which this lane has written
}

// The sum of v of the threads before this one, of 256, and of all.
FN float before(float v, threadgroup float* sums, thread float& all, Ctx t) {
    float s = v;
    UNROLL for (uint d = 1; d < 32; d *= 2) {
        const float u = simd_shuffle(s, ushort(t.lane >= d ? t.lane - d : t.lane));
        if (t.lane >= d) s += u;
    }
    if (t.lane == 31) sums[t.sg] = s;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    float base = 0;
    all = 0;
    for (uint i = 0; i < 8; i++) { base += i < t.sg ? sums[i] : 0.0f; all += sums[i]; }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return base + s - v;
}

// Orders pairs of a token and an expert by the expert: order[begins[e]], …, order[begins[e+1]-1] are those of expert e, as they come. A group
// an expert.
struct AssignParams { int pairs, experts; };
KERNEL(assign, 256, 1)(BUF(0, const int, chosen), BUF(1, int, order), BUF(2, int, begins), ARG(3, AssignParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, sums, 8);
    const int expert = int(t.tg.x), each = (P.pairs + 255) / 256, first = min(P.pairs, int(t.tid) * each), end = min(P.pairs, first + each);
    float less = 0, equal = 0, lower, all;                               // counts; exact: there are fewer than 2^24
    for (int i = first; i < end; i++) { less += chosen[i] < expert ? 1.0f : 0.0f; equal += chosen[i] == expert ? 1.0f : 0.0f; }
    before(less, sums, lower, t);
    int at = int(lower) + int(before(equal, sums, all, t));
    for (int i = first; i < end; i++) if (chosen[i] == expert) order[at++] = i;
    if (t.tid == 0) {
        begins[expert] = int(lower);
        if (expert == P.experts - 1) begins[P.experts] = P.pairs;
    }
}

// Cuts the pairs of each expert into tiles of at most each; those that are left of most tiles have none. One group.
struct TilesParams { int experts, each, most; };
KERNEL(tiles, 256, 1)(BUF(0, const int, begins), BUF(1, Tile, list), ARG(2, TilesParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, sums, 8);
    const int run = (P.experts + 255) / 256, first = min(P.experts, int(t.tid) * run), end = min(P.experts, first + run);
    float n = 0, all;
    for (int e = first; e < end; e++) n += float((begins[e + 1] - begins[e] + P.each - 1) / P.each);
    int at = int(before(n, sums, all, t));
    for (int e = first; e < end; e++)
        for (int i = begins[e]; i < begins[e + 1]; i += P.each) list[at++] = Tile{e, i, min(P.each, begins[e + 1] - i), 0};
    for (int i = int(all) + int(t.tid); i < P.most; i += 256) list[i] = Tile{0, 0, 0, 0};
}
