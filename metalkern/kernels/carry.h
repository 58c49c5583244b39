// What kernels for attention of many queries have in common.
struct PrefillParams {
    int   tokens, heads, group;
    int   position;                       // of the first query
    uint  blocks, tiles;                  // of the list
    float scale;                          // on q·k, times log2 e
    float cap, rcp_cap;                   // soft cap, times log2 e, and its reciprocal
    int   window;                         // positions that a query sees, its own included, or 0 for all
    int   finish;                         // whether to divide: out is then attention, and out_m and out_l are not written
};
// Eight elements of a row of K or V on their way to threadgroup memory.
template <typename F, int D> struct Carry {
    uint words[F::BITS / 4];
    ushort scale;
    static FN void begin(thread Carry& self, threadgroup half*, device const uchar* plane, uint capacity, uint token, uint d, bool valid) {
        Fetch<F, 8>::get(plane + ulong(token) * (D * F::BITS / 8), d, self.words);
        self.scale = valid ? ((device const ushort*)(plane + scales_at<F, D>(capacity)))[ulong(token) * ((D + 31) / 32) + d / 32] : ushort(0);
    }
    static FN void end(thread const Carry& self, threadgroup half* dst) {
        uint x[4];
        Unpack<F>::template get<8>(self.words, self.scale, x);
        *(threadgroup uint4*)dst = uint4(x[0], x[1], x[2], x[3]);
    }
};
template <int D> struct Carry<F16, D> {
    static FN void begin(thread Carry&, threadgroup half* dst, device const uchar* plane, uint, uint token, uint d, bool valid) {
        async_copy16(dst, plane + ulong(token) * (D * 2) + d * 2, valid);
    }
    static FN void end(thread const Carry&, threadgroup half*) {}
};
