// Keys and values into blocks.

// Stores k and v [tokens][kv_heads][D] as halves at tokens [at, at+tokens) of a block of capacity tokens. A thread takes two elements.
struct AppendParams { ulong k, v; int tokens, kv_heads, dim; uint at, capacity; };
KERNEL(append, 256, 1)(BUF(0, uchar, kv), BUF(1, const float, k), BUF(2, const float, v), ARG(3, AppendParams, P) GRID_ARGS) {
    const Ctx t = GRID;
    const ulong i = ulong(t.tg.x) * 256 + t.tid;
    const uint pairs = uint(P.dim) / 2, each = uint(P.kv_heads) * pairs;
    if (i >= ulong(P.tokens) * each) return;
    const uint token = uint(i / each), head = uint(i % each) / pairs, pair = uint(i % each) % pairs;
    const ulong from = i * 2, to = ulong(head) * plane_halves(P.capacity, uint(P.dim)) + ulong(P.at + token) * P.dim + pair * 2;
    *(device uint*)(kv + P.k + to * 2) = pair_of(k[from], k[from + 1]);
    *(device uint*)(kv + P.v + to * 2) = pair_of(v[from], v[from + 1]);
}

// Stores k and v [tokens][kv_heads][D] in the same way in a quantized block: a simdgroup takes 32 elements of one key or value of a head.
struct QuantizeParams { ulong k, v; uint tokens, kv_heads, at, capacity; };
template <typename F, int D> FN void quantize(device uchar* kv, device const float* k, device const float* v, constant QuantizeParams& P, Ctx t) {
    constexpr uint GROUPS = (D + 31) / 32;
    const ulong i = ulong(t.tg.x) * 8 + t.sg;
    const uint group = uint(i % GROUPS), head = uint(i / GROUPS % P.kv_heads);
    const ulong n = i / GROUPS / P.kv_heads;     // of the keys, and then of the values
    if (n >= 2 * ulong(P.tokens)) return;
    const bool value = n >= P.tokens;
    const uint row = uint(value ? n - P.tokens : n), token = P.at + row;
    device const float* from = (value ? v : k) + (ulong(row) * P.kv_heads + head) * D;
    const uint d = group * 32 + t.lane;
    const float x = d < D ? from[d] : 0.0f;
    const float high = simd_max(x), low = -simd_max(-x);
    const float largest = high >= -low ? high : low;
    const float wide = F::BITS == 8 ? abs(largest) / 127.0f : largest / -8.0f;
    const uint scale_pair = pair_of(wide, 0.0f);
    const float scale = pair_lo(scale_pair);
    const float q = scale != 0.0f ? fdivide(x, scale) : 0.0f;
    const float whole = fround(q);               // ties to even
    device uchar* plane = kv + (value ? P.v : P.k) + head * plane_bytes<F, D>(P.capacity);
    if (F::BITS == 8) {
        if (d < D) plane[ulong(token) * D + d] = uchar(uint(int(min(max(whole, -127.0f), 127.0f))) & 255u);
    } else {
        const float n = min(max(whole, -8.0f), 7.0f) + 8.0f;
        // Byte b of a word holds elements 4·(b&1) + (b>>1) and the one two after it.
        const uint b = t.lane % 4, at = (t.lane & ~7u) + (b & 1) * 4 + (b >> 1);
        const float lower = simd_shuffle(n, ushort(at)), upper = simd_shuffle(n, ushort(at + 2));
        if ((t.lane & 4) == 0 && d < D) plane[ulong(token) * (D / 2) + group * 16 + t.lane / 8 * 4 + b] = uchar(uint(lower) | uint(upper) << 4);
    }
    if (t.lane == 0) ((device ushort*)(plane + scales_at<F, D>(P.capacity)))[ulong(token) * GROUPS + group] = ushort(scale_pair);
}
#define QUANTIZE(name, F, D)                                                                                           \
KERNEL(name, 256, 1)(BUF(0, uchar, kv), BUF(1, const float, k), BUF(2, const float, v), ARG(3, QuantizeParams, P) GRID_ARGS) { quantize<F, D>(kv, k, v, P, GRID); }
