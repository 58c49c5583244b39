// A float as the sum of two terms that matrix units take: hi, its rounding to half or bf16, and lo, the rounding of what that left
// over. Halves of 6e-5 and more keep 21 bits so, those of bf16 16; halves are kept finite. The pointer tells the type.
FN uint narrow2(float x, float y, thread const half*) { return pair_of(min(max(x, -65504.0f), 65504.0f), min(max(y, -65504.0f), 65504.0f)); }
FN uint narrow2(float x, float y, thread const bf16*) { return uint(as_type<ushort>(bf16(x))) | uint(as_type<ushort>(bf16(y))) << 16; }
FN float wide_lo(uint p, thread const half*) { return pair_lo(p); }
FN float wide_hi(uint p, thread const half*) { return pair_hi(p); }
FN float wide_lo(uint p, thread const bf16*) { return bf16_lo(p); }
FN float wide_hi(uint p, thread const bf16*) { return bf16_hi(p); }
template <typename E> FN void split2(thread uint& hi, thread uint& lo, float x, float y, thread const E* tag) {
    hi = narrow2(x, y, tag);
    lo = narrow2(x - wide_lo(hi, tag), y - wide_hi(hi, tag), tag);
}
