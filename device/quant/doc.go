// Package quant knows how quantized weights lie in files, and what they stand for.
//
// Rows are sequences of blocks, each of so many elements in so many bytes, little-endian. The blocks are those
// of GGUF (ggml's ggml-common.h and the dequantize_row functions of ggml-quants.c), where d and dmin are halves:
//
//	Q8_0   32 elements, 34 bytes    d, q int8 [32]                         w = d q
//	Q4_0   32 elements, 18 bytes    d, 16 bytes                            w = d (q-8)
//	       the low nibbles are elements 0 to 15, the high ones 16 to 31
//	Q4_K  256 elements, 144 bytes   d, dmin, scales [12], 128 bytes        w = d s q - dmin m
//	       of each 32 bytes the low nibbles are one group of 32 elements, the high ones the next; a group j has
//	       a scale s and a minimum m of 6 bits: for j < 4, scales[j]&63 and scales[j+4]&63; else
//	       scales[j+4]&15 | scales[j-4]>>6<<4 and scales[j+4]>>4 | scales[j]>>6<<4
//	Q6_K  256 elements, 210 bytes   ql [128], qh [64], s int8 [16], d      w = d s (q-32)
//	       in each half of the block, element 32 i + l, of 32, has as its low four bits the low (i < 2) or high
//	       nibble of ql[64 half + 32 (i%2) + l], and as its upper two the bits 2i of qh[32 half + l]; a scale is for 16
//
// and the affine ones of MLX (mlx/backend/cpu/quantized.cpp), where a group of 32, 64 or 128 elements has a
// scale s and a bias b in arrays of their own, in the model's format, and a row of q is one stream of bits:
//
//	4 bits, 8 bits                  q                                      w = s q + b
//
// The functions here are the definition, plain and slow. Package simd multiplies with the blocks as they are.
package quant
