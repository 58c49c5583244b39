// Constants and conversions that are the same everywhere.
constexpr constant float LOWEST = -1e30f;    // below any score; not an infinity: see the package's doc
constexpr constant float LOG2E = 1.44269504088896f;
constexpr constant float LN2 = 0.693147180559945f;
FN float neg_inf() { return as_type<float>(0xff800000u); }

FN uint splat(ushort bits) { return uint(bits) * 0x10001u; }         // the same half twice
FN float half_bits(ushort bits) { return pair_lo(uint(bits)); }
FN float bf16_lo(uint w) { return as_type<float>(w << 16); }         // of two bf16 in a word
FN float bf16_hi(uint w) { return as_type<float>(w & 0xffff0000u); }
// Bytes 2i and 2i+1 of w, signed, as a pair.
FN uint pair_i8(uint w, uint i) { return pair_sub(magic_bytes(w ^ 0x80808080u, i), 0x64806480u); }
// Elements 2i and 2i+1 of eight in a word, with 8 subtracted: the even ones are the nibbles of the low half-word. 0x6400 | u is 1024 + u.
FN uint pair_i4(uint w, uint i) { return pair_sub(and_or(w >> (i * 4u), 0x000f000fu, 0x64006400u), 0x64086408u); }
