// Package bench measures kernels on a device, and says what share of the device's limits they reach.
//
// There are two limits, measured first, by kernels of this project: how fast memory is copied, counting what is read and what is written, and how fast
// the matrix units run in a large product. What a kernel must read and write, each byte once, and compute, over its time, is a
// share of one of them: of whichever would take longer.
//
// Each kernel runs on inputs larger than any cache, or on several copies in turn, and after a run that is not counted. A time is the
// median of several, taken by the device's own clock.
package bench
