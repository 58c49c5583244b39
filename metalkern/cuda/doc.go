// Package cuda runs kernels on NVIDIA GPUs, through the driver (libcuda) and the run-time compiler (NVRTC).
//
// Both are looked for at run time, so a program built without any toolkit, and without cgo, uses a GPU where there is one.
// Where there is none, where the driver or the compiler is too old, or the GPU is (compute capability 8.0 is the least),
// [Open] returns a *gpu.UnavailableError that says so.
//
// A queue is a stream. Launches are recorded and given to it together; those that come again are a graph from then on, whose arguments
// are set where they are others than before. A kernel may start before the one that it follows has ended, and waits for it itself.
// Compiled kernels are cached by what they were made of and for.
//
// Steps may depend on messages of other nodes, and be recorded ahead for all that ([gpu.Exchanger]). A launch behind one looks at a word in
// the GPU's memory, by an argument that each kernel has beyond its own, and does nothing once a gate has set it to 0.
package cuda
