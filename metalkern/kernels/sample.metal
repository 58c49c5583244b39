// Draws a token from logits as package sampling does: temperature, top-k, top-p and min-p, and then the token in which the random number falls,
// in order of their ids. Nothing is sorted. Top-k and top-p each end at a value of the logits, which is found digit by digit of its bits, from the
// highest: each kernel adds up what lies in each of the 32 values of the next digit, a part of the logits a group, and the next kernel chooses among
// them. Weights are whole numbers, multiples of 2^-44, so that all sums are exact in any order, and the token is the same on every device.

// What is known of the last value that is kept: low has its bits from the highest on, above is what lies above all that begin so, of goal that are wanted;
// floor is the last value that top-k keeps. most is the largest logit, and bad says that there is none.
struct Bound { ulong above, goal; uint low, floor; float most; uint bad; };
// All that the kernels are told. Of top-k goal is k, of top-p 0 until the first sum is known, of which it is then the share portion, of 2^64.
// known is how many bits of low are known, and turn the number of kernels of this kind before.
struct SampleParams {
    ulong goal, portion, number;             // number: the random one, of 2^64
    float scale;                             // log2(e)/temperature
    float least;                             // of a logit less the largest: of what min-p keeps
    uint cols, parts, known, turn, weighted; // weighted: add up weights, not how many there are
    uint whole;                              // whether all that equals the last value is kept
};
constexpr constant uint DIGITS = 32, SAMPLE_PART = 2048;
constexpr constant int FIXED = 44;           // binary places of a weight

// Bits that are in the order of the values. Both zeros are the same.
FN uint ordered(float v) {
    const uint bits = as_type<uint>(v) == 0x80000000u ? 0u : as_type<uint>(v);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
FN float unordered(uint key) { return as_type<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key); }
// e^((v-most)/temperature), which is at most 1, in multiples of 2^-44. By fma, which rounds alike everywhere.
FN ulong weight_of(float v, float most, float scale) {
    const float d = v - most, y = d * scale;
    if (as_type<uint>(v) == 0xff800000u || y < -60.0f) return 0;
    const float n = fround(y), r = fma(d, scale, -n);
    float e = 1.5252734e-5f;                 // Taylor's series of 2^r: the next term is below 5e-9
    e = fma(e, r, 1.5403530e-4f);
    e = fma(e, r, 1.3333558e-3f);
    e = fma(e, r, 9.6181291e-3f);
    e = fma(e, r, 5.5504109e-2f);
    e = fma(e, r, 0.24022651f);
    e = fma(e, r, 0.69314718f);
    e = fma(e, r, 1.0f);
    return (ulong(uint(e * 16777216.0f)) << (FIXED - 24)) >> uint(-n);
}
// The share of x that is part, of 2^64: the high half of their product.
FN ulong share_of(ulong x, ulong part) {
    const ulong a = x & 0xffffffffu, b = x >> 32, c = part & 0xffffffffu, d = part >> 32;
    const ulong middle = b * c + ((a * c) >> 32), other = a * d + (middle & 0xffffffffu);
    return b * d + (middle >> 32) + (other >> 32);
}

// The bound with the next digit, of the sums [parts][DIGITS] by digits. Of a group of 32·RUNS threads; sums has room for as many.
template <uint RUNS> FN Bound narrowed(Bound b, device const ulong* digits, uint parts, uint known, ulong portion, threadgroup ulong* sums, Ctx t) {
    ulong sum = 0;
    for (uint first = t.sg; first < parts; first += RUNS * 16) {         // loads that do not wait for one another
        ulong part[16];
        UNROLL for (uint i = 0; i < 16; i++) part[i] = first + i * RUNS < parts ? digits[(first + i * RUNS) * DIGITS + t.lane] : 0;
        UNROLL for (uint i = 0; i < 16; i++) sum += part[i];
    }
    sums[t.tid] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (t.sg == 0) {
        UNROLL for (uint i = 1; i < RUNS; i++) sum += sums[i * DIGITS + t.lane];
        sums[t.tid] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ulong each[DIGITS], all = 0;
    UNROLL for (uint i = 0; i < DIGITS; i++) { each[i] = sums[i]; all += each[i]; }
    if (b.goal == 0) b.goal = share_of(all, portion);
    if (b.goal == 0) b.goal = 1;
    uint digit = DIGITS - 1;
    bool open = true;
    UNROLL for (uint i = DIGITS - 1; i > 0; i--) {
        open = open && b.above + each[i] < b.goal;
        if (open) { b.above += each[i]; digit = i - 1; }
    }
    b.low |= (digit << 27) >> known;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return b;
}
// The bound as it is for a kernel: after the digits of those before.
template <uint RUNS> FN Bound bound_of(device const float* x, device const int* best, device const Bound* from, device const ulong* digits, constant SampleParams& P,
                                       threadgroup ulong* sums, Ctx t) {
    if (P.turn == 0) return Bound{0, P.goal, 0, 0, best[0] < 0 ? 0.0f : x[best[0]], best[0] < 0 ? 1u : 0u};
    const Bound b = from[0];
    if (b.bad) return b;
    const Bound next = narrowed<RUNS>(b, digits, P.parts, P.known ? P.known - 5 : 30, P.portion, sums, t);
    return P.known ? next : Bound{0, P.goal, 0, next.low, b.most, 0};
}

// Adds up what lies in each digit after the known ones. Each thread has a sum of its own for each.
KERNEL(sample_narrow, 64, 1)(BUF(0, const float, x), BUF(1, const int, best), BUF(2, const Bound, from), BUF(3, const ulong, digits),
    BUF(4, Bound, to), BUF(5, ulong, sums), ARG(6, SampleParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(ulong, own, DIGITS * 64);
    SHARED(ulong, shared, 64);
    const uint first = t.tg.x * SAMPLE_PART + t.tid;
    float v[SAMPLE_PART / 64];
    UNROLL for (uint i = 0; i < SAMPLE_PART / 64; i++) v[i] = first + i * 64 < P.cols ? x[first + i * 64] : 0.0f;
    const Bound b = bound_of<2>(x, best, from, digits, P, shared, t);
    if (t.tg.x == 0 && t.tid == 0) to[0] = b;
    if (b.bad) return;
    UNROLL for (uint i = 0; i < DIGITS; i++) own[i * 64 + t.tid] = 0;
    const uint mask = P.known ? ~0u << (32 - P.known) : 0u;
    UNROLL for (uint i = 0; i < SAMPLE_PART / 64; i++) {
        const uint key = ordered(v[i]);
        if (first + i * 64 < P.cols && key >= b.floor && ((key ^ b.low) & mask) == 0)
            own[((key << P.known) >> 27) * 64 + t.tid] += P.weighted ? weight_of(v[i], b.most, P.scale) : 1;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ulong sum = 0;
    UNROLL for (uint i = 0; i < 32; i++) sum += own[t.lane * 64 + t.sg * 32 + ((i + t.lane) & 31)];
    shared[t.tid] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (t.sg == 0) sums[t.tg.x * DIGITS + t.tid] = sum + shared[32 + t.tid];
}

// v of another lane.
FN ulong from_lane(ulong v, uint lane) {
    return ulong(simd_shuffle(uint(v >> 32), ushort(lane))) << 32 | simd_shuffle(uint(v & 0xffffffffu), ushort(lane));
}
// The sum of v of the threads before this one, of 256, and of all.
FN ulong sum_before(ulong v, threadgroup ulong* sums, thread ulong& all, Ctx t) {
    ulong s = v;
    UNROLL for (uint d = 1; d < 32; d *= 2) {
        const ulong u = from_lane(s, t.lane >= d ? t.lane - d : t.lane);
        if (t.lane >= d) s += u;
    }
    if (t.lane == 31) sums[t.sg] = s;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    ulong base = 0;
    all = 0;
    UNROLL for (uint i = 0; i < 8; i++) { base += i < t.sg ? sums[i] : 0; all += sums[i]; }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return base + s - v;
}

// The weight of what is kept of a part: of what lies above the bound, in weights[part], and how many equal it, in equals[part].
constexpr constant uint EACH = SAMPLE_PART / 256;
KERNEL(sample_weigh, 256, 1)(BUF(0, const float, x), BUF(1, const int, best), BUF(2, const Bound, from), BUF(3, const ulong, digits),
    BUF(4, Bound, to), BUF(5, ulong, weights), BUF(6, ulong, equals), ARG(7, SampleParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(ulong, shared, 256);
    const uint first = t.tg.x * SAMPLE_PART + t.tid;
    float v[EACH];
    UNROLL for (uint i = 0; i < EACH; i++) v[i] = first + i * 256 < P.cols ? x[first + i * 256] : 0.0f;
    const Bound b = bound_of<8>(x, best, from, digits, P, shared, t);
    if (t.tg.x == 0 && t.tid == 0) to[0] = b;
    if (b.bad) return;
    ulong weight = 0, equal = 0, all;
    UNROLL for (uint i = 0; i < EACH; i++) {
        const uint key = ordered(v[i]);
        if (first + i * 256 >= P.cols || key < b.low || v[i] - b.most < P.least) continue;
        if (key == b.low) equal++;
        else weight += weight_of(v[i], b.most, P.scale);
    }
    sum_before(weight, shared, all, t);
    if (t.tid == 0) weights[t.tg.x] = all;
    sum_before(equal, shared, all, t);
    if (t.tid == 0) equals[t.tg.x] = all;
}

// The token in which the number falls, or -1 if there is none. One group; parts are at most 256.
KERNEL(sample_draw, 256, 1)(BUF(0, const float, x), BUF(1, const Bound, from), BUF(2, const ulong, weights), BUF(3, const ulong, equals),
    BUF(4, int, token), ARG(5, SampleParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    SHARED(ulong, shared, 8);
    SHARED(ulong, found, 3);                 // the part, and what is kept and what equals the bound before it
    ulong equal = t.tid < P.parts ? equals[t.tid] : 0, weight = t.tid < P.parts ? weights[t.tid] : 0, all;
    const Bound b = from[0];
    if (b.bad) {
        if (t.tid == 0) token[0] = -1;
        return;
    }
    const ulong each = b.low ? weight_of(unordered(b.low), b.most, P.scale) : 0;   // of those that equal the bound, of which so many are kept:
    const ulong kept = P.whole ? ulong(P.cols) : (b.goal - b.above + each - 1) / each;
    ulong less = sum_before(equal, shared, all, t);
    if (less < kept) weight += each * (kept - less < equal ? kept - less : equal);
    ulong at = sum_before(weight, shared, all, t);
    const ulong number = share_of(all, P.number);
    if (at <= number && number - at < weight) { found[0] = t.tid; found[1] = at; found[2] = less; }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const uint first = uint(found[0]) * SAMPLE_PART + t.tid * EACH;
    float v[EACH];
    ulong w[EACH];
    equal = 0;
    UNROLL for (uint i = 0; i < EACH; i++) {
        v[i] = first + i < P.cols ? x[first + i] : neg_inf();
        equal += ordered(v[i]) == b.low ? 1 : 0;
    }
    less = found[2] + sum_before(equal, shared, all, t);
    weight = 0;
    UNROLL for (uint i = 0; i < EACH; i++) {
        const uint key = ordered(v[i]);
        const bool keeps = key >= b.low && v[i] - b.most >= P.least && (key > b.low || less < kept);
        less += key == b.low ? 1 : 0;
        w[i] = keeps ? weight_of(v[i], b.most, P.scale) : 0;
        weight += w[i];
    }
    at = found[1] + sum_before(weight, shared, all, t);
    UNROLL for (uint i = 0; i < EACH; i++) {
        if (at <= number && number - at < w[i]) token[0] = int(first + i);
        at += w[i];
    }
}
