package gpu

import "unsafe"

// Call is a kernel, and what it is launched with.
type Call struct {
	Kernel  Kernel
	Grid    Grid
	Buffers []Range // its first parameters, in their order
	Value   []byte  // of the one behind them, with the layout that the kernel's struct has; empty if there is none
}

// Launch runs a kernel whose parameters are so many buffers, in this order, and behind them a value, without pointers; one of no size is no parameter.
// Nothing of it is allocated: the queue has the memory in which the call lies.
func Launch[P any](q Queue, k Kernel, g Grid, buffers []Range, value P) {
	launch(q, k, g, buffers, unsafe.Slice((*byte)(unsafe.Pointer(&value)), unsafe.Sizeof(value)))
}

func launch(q Queue, k Kernel, g Grid, buffers []Range, value []byte) {
	c := q.Next()
	c.Kernel, c.Grid = k, g
	c.Buffers, c.Value = append(c.Buffers[:0], buffers...), append(c.Value[:0], value...)
	q.Launch(c)
}

// Buffers are the arguments of a kernel's first parameters.
func Buffers(list ...Range) []Range { return list }
