// Package gpu is what a kernel needs of whoever runs it: buffers, kernels compiled at run time from one
// source, and queues on which launches run in order.
//
// Three hosts implement it: CUDA (package cuda), Metal (package metal), and the emulator (package emulator), which runs the same
// kernels on any machine with a C++ compiler, so that each of them is tested everywhere.
//
// A launch is a grid of groups of threads. Threads come in simdgroups of 32 (CUDA's warps). What Metal calls
// threadgroup memory, and CUDA shared memory, is fixed in the kernel's source, or asked for at the launch ([Grid.Pool]).
//
// A kernel's parameters are buffers and, behind them, a value, if it has one. [Launch] describes a launch to a queue, in memory that the queue uses again:
// recording a step allocates nothing.
package gpu
