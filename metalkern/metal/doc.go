// Package metal runs kernels on Apple GPUs, through Metal, on macOS 14 or later.
//
// There is no cgo: messages go to objects through objc_msgSend, called by address. A selector is registered once. What each message takes and
// returns is in selectors.tsv, derived from Apple's headers, and a test compares every call with it: a mistake there would be a wild pointer on a machine
// that no compiler has seen.
//
// A library is compiled from its text when it is first needed, and kept for the process; Metal itself keeps what its compiler made on disk. Buffers are in storage that
// the processor and the GPU share; [Host.Adopt] makes one of a mapped file without a copy. A queue is package gated's, so a whole step, its
// messages included, is given to the GPU ahead. It waits for messages by events; ORRERY_METAL_SYNCH=fast, on macOS 15 or later, lets a kernel spin for a
// bounded time instead.
//
// Every wait polls, up to its deadline: none is in a call of Metal's. Where there is no usable GPU [Open] returns a *gpu.UnavailableError that says why.
package metal
