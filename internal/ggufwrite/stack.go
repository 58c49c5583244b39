package ggufwrite

import (
	"io"
	"strings"
)

// Stack makes one tensor, with a further dimension, of those of all experts of a layer, which have one name.
func Stack(tensors []Tensor) []Tensor {
	var out []Tensor
	at := map[string]int{}
	for _, t := range tensors {
		if !strings.HasSuffix(t.Name, "_exps.weight") {
			out = append(out, t)
			continue
		}
		i, ok := at[t.Name]
		if !ok {
			at[t.Name] = len(out)
			t.Shape = append([]int{1}, t.Shape...)
			out = append(out, t)
			continue
		}
		before, write := out[i].Write, t.Write
		out[i].Shape[0]++
		out[i].Bytes += t.Bytes
		out[i].Write = func(w io.Writer) error {
			if err := before(w); err != nil {
				return err
			}
			return write(w)
		}
	}
	return out
}
