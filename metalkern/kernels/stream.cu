// Products of one token for GPUs that copy from memory to threadgroup memory on their own, and begin a kernel before the one that it follows has
// ended: a group asks for its first rows of the weights, which no kernel writes, and only then waits for x. There is one group for each
// multiprocessor, with rows that follow one another.
//
// A row is for P.warps simdgroups, and there are some rows at a time. A lane has the same 32 columns of every row, as chunks of 16 bytes; it copies what it
// will read itself, so nothing but scales is waited for by others. Its part of x stays in registers, prepared so that an element of a quantized row costs
// two instructions: a mask, which makes a float of some bits of a word, most often a subnormal one, and a multiplication.
struct StreamParams {
    int rows;                // of all matrices; of PAIRED, twice those of each
    int cols;
    int warps, slots;        // simdgroups of a row, rows at a time
    int begin_b, begin_c;    // SEVERAL: the first row of the second matrix and of the third, of all rows
    int add;                 // ONE: as in MatvecParams
    int part;                // TOGETHER: columns of an expert
    int normed;              // whether x is to be divided by the root of the mean of its squares, plus eps, and multiplied with gain
    float eps;
};
enum { ONE, SEVERAL, PAIRED, TOGETHER };             // ONE: b, too, is where sums go. PAIRED: gate and up, row by row. TOGETHER: a row is those of some experts, one after the other

// The bits of a word below 2^24, as a float, are their number times 2^-149. What x is multiplied with keeps products in range, for x up to 2^47.
constexpr constant float STREAM_UP = 0x1p80f, STREAM_UNDO = 0x1p69f;

// What a lane has of x for a chunk. begin is what a sum begins with, for elements that are stored with something added.
template <typename F> struct Share { float x[128 / F::BITS]; float begin; };

template <typename F> FN void prepare(thread Share<F>& s) { s.begin = 0; }
template <> FN void prepare(thread Share<WQ8>& s) {
    float sum = 0;
    UNROLL for (int i = 0; i < 16; i++) {
        sum += s.x[i];
        s.x[i] *= i % 4 == 1 ? STREAM_UP * 0x1p-8f : i % 4 == 2 ? STREAM_UP * 0x1p-16f : STREAM_UP;
    }
    s.begin = sum * (-128.0f / STREAM_UNDO);
}
template <> FN void prepare(thread Share<WQ4>& s) {
    float sum = 0;
    UNROLL for (int i = 0; i < 32; i += 8) {
        thread float* x = s.x + i;
        UNROLL for (int j = 0; j < 8; j++) sum += x[j];
        x[0] *= STREAM_UP; x[2] *= STREAM_UP * 0x1p-4f; x[4] *= STREAM_UP * 0x1p-8f; x[6] *= STREAM_UP * 0x1p-12f;
        x[1] *= STREAM_UP * 0x1p-16f; x[3] *= STREAM_UP * 0x1p-20f; x[5] *= STREAM_UP; x[7] *= STREAM_UP * 0x1p-4f;
        x[5] -= x[7];                                // the seventh is multiplied with the fifth, too
    }
    s.begin = sum * (-8.0f / STREAM_UNDO);
}

// The product of a chunk, divided by STREAM_UNDO if it has a scale.
template <typename F> FN float chunk_dot(thread const Share<F>& s, uint4 w) {
    const uint words[4] = {w.x, w.y, w.z, w.w};
    float a = 0, b = 0;
    UNROLL for (int i = 0; i < 4; i++) {
        Raw<F> r;
        r.w[i] = words[i];
        a = fma(element(r, 2 * i), s.x[2 * i], a);
        b = fma(element(r, 2 * i + 1), s.x[2 * i + 1], b);
    }
    return a + b;
}
template <> FN float chunk_dot(thread const Share<WQ8>& s, uint4 w) {
    const uint words[4] = {w.x, w.y, w.z, w.w};
    float a = s.begin, b = 0;
    UNROLL for (int i = 0; i < 4; i++) {
        const uint v = words[i] ^ 0x80808080u;
        a = fma(as_type<float>(v & 0xffu), s.x[4 * i], a);
        b = fma(as_type<float>(v & 0xff00u), s.x[4 * i + 1], b);
        a = fma(as_type<float>(v & 0xff0000u), s.x[4 * i + 2], a);
        b = fma(as_type<float>(v >> 24), s.x[4 * i + 3], b);
    }
    return a + b;
}
template <> FN float chunk_dot(thread const Share<WQ4>& s, uint4 w) {
    const uint words[4] = {w.x, w.y, w.z, w.w};
    float a = s.begin, b = 0;
    UNROLL for (int i = 0; i < 4; i++) {
        const uint v = words[i], high = v >> 24;
        thread const float* x = s.x + 8 * i;
        a = fma(as_type<float>(v & 0xfu), x[0], a);
        b = fma(as_type<float>(v & 0xf0u), x[2], b);
        a = fma(as_type<float>(v & 0xf00u), x[4], a);
        b = fma(as_type<float>(v & 0xf000u), x[6], b);
        a = fma(as_type<float>(v & 0xf0000u), x[1], a);
        b = fma(as_type<float>(v & 0xf00000u), x[3], b);
        a = fma(as_type<float>(high & 0xfu), x[5], a);
        b = fma(as_type<float>(high), x[7], b);
    }
    return a + b;
}

// Of sums over the lanes of R values each, a lane gets that of value lane / (32 / R).
template <int R> FN float fold(thread float* v, uint lane) {
    uint m = 16;
    UNROLL for (int n = R / 2; n > 0; n /= 2) {
        UNROLL for (int i = 0; i < n; i++) {
            const bool upper = (lane & m) != 0;
            const float keep = upper ? v[i + n] : v[i], give = upper ? v[i] : v[i + n];
            v[i] = keep + simd_shuffle_xor(give, ushort(m));
        }
        m /= 2;
    }
    float s = v[0];
    UNROLL for (; m > 0; m /= 2) s += simd_shuffle_xor(s, ushort(m));
    return s;
}

template <typename F, int KIND, int R, int DEPTH> struct Stream {
    static constant constexpr int E = 128 / F::BITS, C = 32 / E, EACH = KIND == PAIRED ? 2 : 1;
    static_assert(R % EACH == 0 && R <= 8 && (!F::SCALED || R * C >= 4), "rows");
    device const uchar *wa, *wb, *wc;                // of PAIRED and ONE, the rows that are asked for next
    device const ushort *sa, *sb, *sc;
    device const uchar* wide[KIND == TOGETHER ? C : 1]; // of this lane's chunks, in the row that is asked for next
    device const ushort* narrow;                     // of the scales that this lane asks for
    float weight[KIND == TOGETHER ? C : 1];          // of the chunks' experts
    threadgroup uchar *data, *scales;                // of this lane, [DEPTH][R][C] at a distance of all threads; of its simdgroup, [DEPTH][R][64]
    threadgroup float* sums;                         // [rows][warps]
    uint threads, columns, stride;                   // of the group; that a chunk's distance is; bytes of a row
    int slots, slot, warp, first, end, next;         // next: the row from which on is asked next
    int into;                                        // the stage for it

    MEMBER int column(int chunk, uint lane) const { return int((uint(chunk) * columns + uint(warp) * 32 + lane) * E); }

    // Where row next + r of all lies.
    MEMBER void row(constant StreamParams& P, int r, thread device const uchar*& w, thread device const ushort*& s) const {
        if (KIND == SEVERAL) {
            const int v = min(next + r, end - 1);
            const bool third = v >= P.begin_c, other = v >= P.begin_b && !third;
            const ulong in = ulong(v - (third ? P.begin_c : other ? P.begin_b : 0));
            w = (third ? wc : other ? wb : wa) + in * stride;
            s = (third ? sc : other ? sb : sa) + in * uint(P.cols / 32);
        } else {
            w = (KIND == PAIRED && r % 2 ? wb : wa) + uint(r / EACH) * stride;
            s = (KIND == PAIRED && r % 2 ? sb : sa) + r / EACH * (P.cols / 32);
        }
    }

    // The first column of the scales that a lane asks for.
    MEMBER int scale_column(uint lane) const {
        const uint part = lane % 4;
        return F::BITS == 4 ? column(0, part * 8) : column(int(part / 2), part % 2 * 16);
    }

    // Asks for the rows of a step.
    MEMBER void ask(constant StreamParams& P, uint lane) {
        if (next < end) {
            UNROLL for (int r = 0; r < R; r++) {
                device const uchar* w;
                device const ushort* s;
                row(P, r, w, s);
                UNROLL for (int c = 0; c < C; c++) {
                    const int at = column(c, lane);
                    device const uchar* from = KIND == TOGETHER ? wide[KIND == TOGETHER ? c : 0] + uint(r) * stride : w + at * F::BITS / 8;
                    async_copy16(data + ((into * R + r) * C + c) * threads * 16, from, next + r < end && at < P.cols);
                }
            }
            if (F::SCALED && int(lane) < R * 4) {    // 16 bytes are the scales of 256 columns
                const int r = int(lane) / 4, at = scale_column(lane);
                device const uchar* w;
                device const ushort* s;
                row(P, r, w, s);
                async_copy16(scales + into * (R * 64) + lane * 16, KIND == TOGETHER ? narrow : s + at / 32, next + r < end && at < P.cols);
            }
        }
        async_commit();
        next += slots * R;
        if (KIND == TOGETHER) {
            UNROLL for (int c = 0; c < C; c++) wide[KIND == TOGETHER ? c : 0] += ulong(uint(slots * R)) * stride;
            narrow += uint(slots * R) * (stride / F::BITS / 4);
        } else if (KIND != SEVERAL) {
            wa += ulong(uint(slots * R / EACH)) * stride; wb += ulong(uint(slots * R / EACH)) * stride;
            sa += slots * R / EACH * (P.cols / 32); sb += slots * R / EACH * (P.cols / 32);
        }
        if (++into == DEPTH) into = 0;
    }

    MEMBER void begin(device const uchar* a, device const ushort* as, device const uchar* b, device const ushort* bs, device const uchar* c, device const ushort* cs,
                      constant StreamParams& P, threadgroup uchar* pool, Ctx t) {
        wa = a; wb = b; wc = c; sa = as; sb = bs; sc = cs;
        slots = P.slots;
        columns = uint(P.warps) * 32;
        threads = uint(slots) * columns;
        stride = uint(KIND == TOGETHER ? P.part : P.cols) * F::BITS / 8;
        slot = int(t.sg) / P.warps;
        warp = int(t.sg) % P.warps;
        first = int(ulong(P.rows / EACH) * t.tg.x / t.ntg.x) * EACH;
        end = int(ulong(P.rows / EACH) * (t.tg.x + 1) / t.ntg.x) * EACH;
        next = first + slot * R;
        into = 0;
        if (KIND != SEVERAL && KIND != TOGETHER) {
            wa += ulong(uint(next / EACH)) * stride; wb += ulong(uint(next / EACH)) * stride;
            sa += ulong(uint(next / EACH)) * uint(P.cols / 32); sb += ulong(uint(next / EACH)) * uint(P.cols / 32);
        }
        data = pool + t.tid * 16;
        threadgroup uchar* rest = pool + DEPTH * R * C * threads * 16;
        scales = rest + t.sg * (DEPTH * R * 64);
        if (F::SCALED) rest += threads / 32 * (DEPTH * R * 64);
        sums = (threadgroup float*)rest;
    }

    // Finds the chunks of a row that is those of experts.
    MEMBER void find(device const uchar* origin, device const Expert* table, device const int* chosen, device const float* weights, constant StreamParams& P, uint lane) {
        UNROLL for (int c = 0; c < C; c++) {
            const int at = min(column(c, lane), P.cols - E), place = at / P.part;
            wide[KIND == TOGETHER ? c : 0] = origin + table[chosen[place]].down + ulong(uint(next)) * stride + uint(at - place * P.part) * F::BITS / 8;
            weight[KIND == TOGETHER ? c : 0] = weights[place];
        }
        if (F::SCALED) {
            const int at = min(scale_column(lane), P.cols - 256), place = at / P.part;
            narrow = (device const ushort*)(origin + table[chosen[place]].down_scales) + ulong(uint(next + int(lane) / 4)) * uint(P.part / 32) + (at - place * P.part) / 32;
        }
    }

    MEMBER void prefetch(constant StreamParams& P, Ctx t) {
        UNROLL for (int i = 0; i < DEPTH - 1; i++) ask(P, t.lane);
    }

    // Where the four elements of x lie that a lane reads i-th: of a chunk or, of chunks with scales, of sixteen elements of each lane, so that neighbours read what
    // is next to each other.
    MEMBER int place(int i, uint lane) const {
        if (!F::SCALED) return column(i * 4 / E, lane) + i * 4 % E;
        return column(i / 4 * 16 / E, uint(i) % 4 * 8 + lane / 4) + i / 4 * 16 % E + int(lane % 4) * 4;
    }

    // Place i of four for lane of.
    MEMBER threadgroup float4* scratch(uint of, uint i, uint lane) const {
        return (threadgroup float4*)(data - lane * 16 + ((DEPTH - 1) * R * C + of / 8) * 16 * threads + (of % 8 * 4 + i) * 16);
    }

    // Reads this lane's part of x, or of what becomes of it. If its elements are far from its neighbours' it goes through threadgroup memory: what this
    // simdgroup has of the last stage, for which nothing has been asked yet.
    MEMBER void load(device const float* x, device const float* gain, device float* normed, threadgroup float* squares, constant StreamParams& P, thread Share<F>* share, Ctx t) const {
        constexpr int N = 8;
        const uint lane = t.lane;
        float4 v[N], g[N];
        UNROLL for (int i = 0; i < N; i++) {
            const int at = place(i, lane);
            v[i] = g[i] = float4(0.0f);
            if (at < P.cols) v[i] = *(device const float4*)(x + at);
            if (P.normed && at < P.cols) g[i] = *(device const float4*)(gain + at);
        }
        if (P.normed) {
            float s = 0;
            UNROLL for (int i = 0; i < N; i++) s = fma(v[i].x, v[i].x, fma(v[i].y, v[i].y, fma(v[i].z, v[i].z, fma(v[i].w, v[i].w, s))));
            s = simd_sum(s);
            if (lane == 0) squares[t.sg] = s;
            threadgroup_barrier(mem_flags::mem_threadgroup);
            s = 0;
            for (int i = 0; i < P.warps; i++) s += squares[i];
            const float f = frsqrt(s / float(P.cols) + P.eps);
            UNROLL for (int i = 0; i < N; i++) {
                v[i].x *= f * g[i].x; v[i].y *= f * g[i].y; v[i].z *= f * g[i].z; v[i].w *= f * g[i].w;
                const int at = place(i, lane);
                if (t.tg.x == 0 && slot == 0 && at < P.cols) *(device float4*)(normed + at) = v[i];
            }
        }
        UNROLL for (int i = 0; i < N; i += 4) {      // 16 elements
            if (F::SCALED) {
                UNROLL for (int j = 0; j < 4; j++) {
                    const uint of = uint(j) * 8 + lane / 4;
                    *scratch(of, lane % 4 ^ (of / 2 & 3), lane) = v[i + j];
                }
                simdgroup_barrier(mem_flags::mem_threadgroup);
                UNROLL for (int j = 0; j < 4; j++) v[i + j] = *scratch(lane, uint(j) ^ (lane / 2 & 3), lane);
                simdgroup_barrier(mem_flags::mem_threadgroup);
            }
            UNROLL for (int j = i; j < i + 4; j++) {
                thread float* to = share[j * 4 / E].x + j * 4 % E;
                to[0] = v[j].x; to[1] = v[j].y; to[2] = v[j].z; to[3] = v[j].w;
            }
        }
        UNROLL for (int c = 0; c < C; c++) {
            if (KIND == TOGETHER) UNROLL for (int i = 0; i < E; i++) share[c].x[i] *= weight[KIND == TOGETHER ? c : 0];
            prepare(share[c]);
        }
    }

    // Leaves the sums of this group's rows in threadgroup memory.
    MEMBER void multiply(device const float* x, device const float* gain, device float* normed, threadgroup float* squares, constant StreamParams& P, Ctx t) {
        const uint lane = t.lane;
        Share<F> share[C];
        load(x, gain, normed, squares, P, share, t);
        int stage = 0;
        threadgroup float* to = sums + (slot * R + int(lane) / (32 / R)) * P.warps + warp;
        for (int all = first; all < end; all += slots * R) {
            async_wait<DEPTH - 2>();
            if (F::SCALED) simdgroup_barrier(mem_flags::mem_threadgroup);
            ask(P, lane);
            threadgroup const uchar* mine = data + stage * (R * C * 16) * threads;
            threadgroup const ushort* s = (threadgroup const ushort*)(scales + stage * (R * 64));
            float v[R];
            UNROLL for (int r = 0; r < R; r++) {
                v[r] = 0;
                UNROLL for (int c = 0; c < C; c++) {
                    const float dot = chunk_dot(share[c], *(threadgroup const uint4*)(mine + (r * C + c) * 16 * threads));
                    v[r] = F::SCALED ? fma(dot, half_bits(s[r * 32 + (F::BITS == 4 ? c * 32 + int(lane) : c * 16 + int(lane) / 2)]), v[r]) : v[r] + dot;
                }
            }
            const float sum = fold<R>(v, lane);
            if (lane % (32 / R) == 0) *to = F::SCALED ? sum * STREAM_UNDO : sum;
            to += slots * R * P.warps;
            if (++stage == DEPTH) stage = 0;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }

    MEMBER float sum(constant StreamParams& P, int v) const {
        float s = 0;
        for (int i = 0; i < P.warps; i++) s += sums[(v - first) * P.warps + i];
        return s;
    }

    // What is added to the first row that this thread finishes, read before it is needed.
    MEMBER float before(device const float* a, device const float* b, constant StreamParams& P, uint tid) const {
        if ((KIND != ONE && KIND != TOGETHER) || P.add == 0 || first + int(tid) >= end) return 0;
        return P.add == 1 ? a[first + tid] : b[first + tid];
    }

    MEMBER void finish(device float* a, device float* b, device float* c, float before, constant StreamParams& P, uint tid) const {
        for (int v = first + int(tid) * EACH; v < end; v += int(threads) * EACH) {
            const float s = sum(P, v);
            if (KIND == PAIRED) {
                const float u = sum(P, v + 1);
                a[v / 2] = fdivide(s, 1.0f + fexp2(-s * LOG2E)) * u;
                b[v / 2] = u;
            } else if (KIND == ONE || KIND == TOGETHER) {
                if (v - first >= int(threads) && P.add != 0) before = P.add == 1 ? a[v] : b[v];
                a[v] = P.add == 1 ? before + s : s;
                if (P.add == 2) b[v] = before + s;
            } else if (v < P.begin_b) a[v] = s;
            else if (v < P.begin_c) b[v - P.begin_b] = s;
            else c[v - P.begin_c] = s;
        }
    }
};
#define STREAM(name, F, KIND, R, DEPTH, THREADS)                                                                       \
KERNEL(name, THREADS, 1)(BUF(0, const float, x), BUF(1, const uchar, wa), BUF(2, const ushort, sa), BUF(3, float, a), BUF(4, const uchar, wb), BUF(5, const ushort, sb), BUF(6, float, b), \
                         BUF(7, const uchar, wc), BUF(8, const ushort, sc), BUF(9, float, c), BUF(10, const float, gain), BUF(11, float, normed), ARG(12, StreamParams, P) GRID_ARGS) { \
    SHARED(float, squares, 32);                                                                                        \
    const Ctx t = GRID_EARLY;                                                                                          \
    Stream<F, KIND, R, DEPTH> s;                                                                                       \
    s.begin(wa, sa, wb, sb, wc, sc, P, POOL, t);                                                                       \
    s.prefetch(P, t);                                                                                                  \
    const uint zero = FOLLOW;                                                                                          \
    start_next();                                                                                                      \
    const float before = s.before(a, b, P, t.tid + zero);                                                              \
    s.multiply(x + zero, gain, normed, squares, P, t);                                                                 \
    s.finish(a, b, c, before, P, t.tid + zero);                                                                        \
}

// Of one token's experts: gate and up, for which a row of groups takes an expert each; and all their downs. Which they are a kernel says that may still
// run, so nothing is asked for before that has ended.
#define STREAM_EXPERTS(name, F, KIND, R, DEPTH, THREADS)                                                               \
KERNEL(name, THREADS, 1)(BUF(0, const float, x), BUF(1, const uchar, origin), BUF(2, const Expert, table), BUF(3, const int, chosen), BUF(4, const float, weights), BUF(5, float, out), \
                              BUF(6, float, up), ARG(7, StreamParams, P) GRID_ARGS) {                                  \
    SHARED(float, squares, 32);                                                                                        \
    const Ctx t = GRID;                                                                                                \
    Stream<F, KIND, R, DEPTH> s;                                                                                       \
    const Expert e = table[chosen[t.tg.y]];                                                                            \
    s.begin(origin + e.gate, (device const ushort*)(origin + e.gate_scales), origin + e.up, (device const ushort*)(origin + e.up_scales), origin, (device const ushort*)origin, P, POOL, t); \
    if (KIND == TOGETHER) s.find(origin, table, chosen, weights, P, t.lane);                                           \
    s.prefetch(P, t);                                                                                                  \
    const ulong at = ulong(t.tg.y) * uint(P.rows / 2);                                                                 \
    const float before = s.before(out, out, P, t.tid);                                                                 \
    s.multiply(x, x, up, squares, P, t);                                                                               \
    if (KIND == PAIRED) s.finish(out + at, up + at, out, before, P, t.tid);                                            \
    else s.finish(out, out, out, before, P, t.tid);                                                                    \
}
