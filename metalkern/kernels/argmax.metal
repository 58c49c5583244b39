// The place of the largest element of each row, the first of several: -1 if the row has a NaN, or the largest is infinite. First parts
// of PART elements, a group each, then a group for each row's parts.
struct ArgmaxParams { uint cols, parts; };
constexpr constant uint PART = 4096;

// A candidate: its value, its place (a float has room for it: there are fewer than 2^24), or -1 if there is none.
struct Candidate { float top, place; };
FN Candidate none() { return Candidate{neg_inf(), -1.0f}; }
FN void meet(thread Candidate& c, float v, float place) {
    if (place >= 0 && (c.place < 0 || v > c.top || (v == c.top && place < c.place))) { c.top = v; c.place = place; }
}
// The best of a group of 256, in thread 0, with whether any thread found a NaN.
FN Candidate elect(Candidate c, thread bool& bad, threadgroup float* shared, Ctx t) {
    const float top = simd_max(c.top), place = -simd_max(c.place >= 0 && c.top == top ? -c.place : LOWEST);
    const bool any = simd_any(bad);
    if (t.lane == 0) { shared[t.sg] = top; shared[8 + t.sg] = place < -LOWEST ? place : -1.0f; shared[16 + t.sg] = any ? 1.0f : 0.0f; }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    Candidate best = none();
    bad = false;
    for (int i = 0; i < 8; i++) { meet(best, shared[i], shared[8 + i]); bad = bad || shared[16 + i] > 0; }
    return best;
}
KERNEL(argmax_parts, 256, 1)(BUF(0, const float, x), BUF(1, float, tops), BUF(2, int, places), ARG(3, ArgmaxParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, shared, 24);
    Candidate c = none();
    bool bad = false;
    UNROLL for (uint i = 0; i < PART / 256; i++) {
        const uint k = t.tg.x * PART + i * 256 + t.tid;
        if (k < P.cols) {
            const float v = x[ulong(t.tg.y) * P.cols + k];
            bad = bad || (as_type<uint>(v) & 0x7fffffffu) > 0x7f800000u;
            meet(c, v, float(k));
        }
    }
    c = elect(c, bad, shared, t);
    if (t.tid == 0) { tops[t.tg.y * P.parts + t.tg.x] = c.top; places[t.tg.y * P.parts + t.tg.x] = bad ? -1 : int(c.place); }
}
KERNEL(argmax_rows, 256, 1)(BUF(0, const float, tops), BUF(1, const int, places), BUF(2, int, index), ARG(3, ArgmaxParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(float, shared, 24);
    Candidate c = none();
    bool bad = false;
    for (uint i = t.tid; i < P.parts; i += 256) {
        const int place = places[t.tg.x * P.parts + i];
        bad = bad || place < 0;
        meet(c, tops[t.tg.x * P.parts + i], float(place));
    }
    c = elect(c, bad, shared, t);
    if (t.tid == 0) index[t.tg.x] = bad || (as_type<uint>(c.top) & 0x7f800000u) == 0x7f800000u ? -1 : int(c.place);
}
