// Package cpu computes on the processor, with the inner loops of package simd.
//
// A device owns a bounded pool of workers, which look for work for some 100 µs and then sleep. An operation of
// a stream runs at once, on the goroutine that calls it; large ones are divided into a part for it and
// one for each idle worker, and who has done its part takes half of what is left of another. Each worker that is woken has at least
// some 30 µs of work, since waking it may cost as much; smaller operations run on their caller alone. In a
// steady state nothing is allocated: each stream keeps its arguments and each worker its scratch.
//
// How an operation is cut does not change its result: every element is computed by one worker, in an
// order that depends on shapes only, and parts of attention over ranges of keys merge in the order of
// the keys. So results are the same for any number of threads, and each time.
//
// A matrix product of a few tokens streams the rows of the weights as they are stored, reading each
// byte once; it runs at the speed of memory. One of many tokens packs tiles of both operands, as
// float32, into the cache, and runs at the speed of the multipliers (Goto and van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008). Where there are instructions for it, activations are whole
// numbers of 16 bits in both beside quantized weights, and the packs of the second are of words.
package cpu
