// Package quant knows how quantized weights are stored: in blocks of some elements of a row, with scales of
// their own. [Widen] is their definition, in plain Go; a device's kernels are held to it. Encode writes rows,
// for tests and for models of random weights.
//
// d and m are halves, x the element that q stands for:
//
//	format   block                          x
//	Q8_0     32: d, 32 × int8               d·q
//	Q4_0     32: d, 16 bytes                d·(q-8); byte i has elements i and i+16, low half first
//	Q4_K     256: d, m, 12 bytes, 128 bytes (d·s)·q - m·t, with s and t of 6 bits for each 32 elements
//	Q6_K     256: 128 bytes, 64 bytes, 16 × int8, d   (d·s)·(q-32), with s for each 16 elements
//	MLX8     Group: bytes                   scale·q + bias, both in arrays of their own
//	MLX4     Group: bytes                   the same; byte i has elements 2i and 2i+1, low half first
package quant
