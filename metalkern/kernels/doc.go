// Package kernels is the GPU kernels, in the dialect (package dialect), and how each is launched.
//
// A [Set] belongs to a host and compiles kernels as they are first needed, for the shapes in use. Each kernel has a
// .metal file and a Go file of the same name, with the same parameters in the same order. The tests run every kernel on
// the emulator, with the matrix fragments of CUDA and with those of Metal, in several orders of lanes, against float64; and
// on a CUDA device where there is one.
//
// stream.cu and staged.cu are in the dialect, too, and what they take for granted only CUDA and the emulator have: copies to threadgroup memory that run by themselves,
// much of that memory, and subnormal numbers; staged.cu also CUDA's fragments, and ldmatrix. The other files named .cu are for NVIDIA GPUs of compute capability 9.0 only, as CUDA 12 and later compile for it, with instructions that the dialect does not
// have. A [Set] takes their kernels where it can, in place of those for every device; the tests hold both to the same bounds.
package kernels
