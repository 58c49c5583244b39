// Package dialect turns a kernel into the text that each compiler takes.
//
// Kernels are written once, in a subset of the Metal Shading Language and a few macros. The subset is small on
// purpose: functions and templates over scalars, small vectors and pointers with address spaces, simdgroup shuffles
// and reductions, barriers, and a 16×8×16 step of the matrix units behind [opaque fragments]. Metal compiles the text
// nearly as it is. For CUDA (NVRTC) and C++ (the emulator) the words device, threadgroup and thread are blanked, constant becomes
// const, and a prelude supplies the names of Metal's library that kernels use. Columns and lines are kept, so that a
// compiler's messages point into the kernel.
//
// What a kernel may use, beyond C++:
//
//	KERNEL(name, threads, groups)(BUF(0, const float, x), ARG(1, Params, P) GRID_ARGS) { … }
//
// declares a kernel for groups of at most so many threads, of which a multiprocessor should be able to hold so many
// groups. BUF is a pointer to a buffer and ARG, the last parameter if there is one, a struct by reference. GRID is the thread's place, a Ctx: tg and
// ntg (the group, and the groups of the grid), tid, lane and sg. SHARED(T, name, n) is an array in threadgroup
// memory whose size is known when compiling, POOL the memory asked for at the launch. FN marks a function,
// UNROLL a loop to unroll. A pair is two halves in a 32-bit word. async_copy16 copies from a buffer to threadgroup
// memory and is done only when async_wait says so.
//
// On CUDA and the emulator GRID_EARLY is the thread's place, too, before the launches ahead have ended: only what no kernel writes may be read then. FOLLOW
// waits for them, and is 0, to be added to what is read behind it; start_next lets the next launch come as far as its own wait. GRID_SOON is GRID for small kernels, which do that
// before they wait.
//
// Infinities are written with bits (NEG_INF), because Metal's fast arithmetic may assume that there are none;
// running maxima start at LOWEST instead.
//
// [opaque fragments]: prelude/fragments_cuda.h
package dialect
