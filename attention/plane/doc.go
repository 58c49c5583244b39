// Package plane is how a block stores the keys, or the values, of one head: as halves, or quantized.
//
// A plane of a block with room for some tokens is their rows, one after the other, and then, if it is quantized, their scales:
//
//	rows    [capacity][dim·bits/8]       padded to 16 bytes
//	scales  [capacity][⌈dim/32⌉] halves  padded to 16 bytes; not for 16 bits
//
// A block's K, and its V, is the planes of its heads in order. Elements share a scale in groups of 32 along the head (the last group of a
// head whose size is no multiple of 32 is smaller). Rows are apart from scales so that a device can read both in whole words.
//
//   - 16 bits: IEEE 754 halves.
//   - 8 bits: signed bytes in [-127, 127], element = byte·scale, scale = max|x|/127. The error is at most half a scale, 0.4% of
//     the group's largest element, and that of rounding the scale to a half.
//   - 4 bits: element = (nibble - 8)·scale, scale = x/-8 for the element x of largest magnitude, so that this one is met exactly and all
//     sixteen steps are used (as in GGUF's Q4_0). The error is at most half a step, 6% of the largest element, except that an
//     element near the largest in magnitude but of the other sign may be off by a whole step. Each 32-bit word holds eight
//     elements: the even ones in its low half, the odd ones in its high half, from the lowest nibble on, so that a device
//     takes two neighbours apart with one mask.
//
// Devices round byte·scale to a half when they multiply on matrix units, so they differ from exact products by up to 2⁻¹¹ of an element.
package plane
