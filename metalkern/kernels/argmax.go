package kernels

import "github.com/orrery-ai/orrery/metalkern/gpu"

// argmaxPart is how many elements a group looks through.
const argmaxPart = 4096

type argmaxParams struct{ cols, parts uint32 }

func argmaxKernel(name string) instance { return instance{file: "argmax.metal", name: name} }

func argmaxKernels() []instance {
	return []instance{argmaxKernel("argmax_parts"), argmaxKernel("argmax_rows")}
}

// ArgmaxBytes is the scratch that Argmax needs.
func ArgmaxBytes(rows, cols int) int64 {
	return 8 * int64(rows) * int64((cols+argmaxPart-1)/argmaxPart)
}

// Argmax writes to index [rows] int32 the place of the largest element of each row of x [rows][cols], the first of several: -1 if the row
// has a NaN, or the largest is infinite. scratch is ArgmaxBytes long.
func (s *Set) Argmax(queue gpu.Queue, index, x, scratch gpu.Range, rows, cols int) error {
	parts, err := s.get(argmaxKernel("argmax_parts"))
	if err != nil {
		return err
	}
	merge, err := s.get(argmaxKernel("argmax_rows"))
	if err != nil {
		return err
	}
	p := argmaxParams{uint32(cols), uint32((cols + argmaxPart - 1) / argmaxPart)}
	places := gpu.Range{Buffer: scratch.Buffer, Offset: scratch.Offset + 4*int64(rows)*int64(p.parts)}
	gpu.Launch(queue, parts, gpu.Grid{X: int(p.parts), Y: rows, Z: 1, Threads: elementThreads}, gpu.Buffers(x, scratch, places), p)
	gpu.Launch(queue, merge, groups(rows, elementThreads), gpu.Buffers(scratch, places, index), p)
	return nil
}
