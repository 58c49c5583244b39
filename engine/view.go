package engine

import (
	"fmt"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
)

// Lane payloads are little-endian, as are all machines that Orrery runs on; so tensors are sent and
// received where they lie, without conversion.

func bytesOf[T float32 | int32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*4)
}

// viewOf sees n elements in b, which must be aligned and exactly long enough.
func viewOf[T float32 | int32](b []byte, n int) ([]T, error) {
	if len(b) != n*4 {
		return nil, fmt.Errorf("a tensor of %d elements came in %d bytes", n, len(b))
	}
	if n == 0 {
		return nil, nil
	}
	p := unsafe.Pointer(&b[0])
	if uintptr(p)%4 != 0 {
		return nil, fmt.Errorf("a tensor came at an unaligned address")
	}
	return unsafe.Slice((*T)(p), n), nil
}

// partialOf sees a partial of rows queries in b: o, m, l, one after the other.
func partialOf(b []byte, rows int, s attention.Shape) (attention.Partial, error) {
	n := rows * s.Heads
	f, err := viewOf[float32](b, n*(s.HeadDim+2))
	if err != nil {
		return attention.Partial{}, err
	}
	o := n * s.HeadDim
	return attention.Partial{Rows: rows, Heads: s.Heads, Dim: s.HeadDim, O: f[:o], M: f[o : o+n], L: f[o+n:]}, nil
}
