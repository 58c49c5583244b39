package kernels

import (
	"bytes"
	"testing"

	"github.com/orrery-ai/orrery/attention/plane"
)

var headDims = []int{64, 80, 96, 128, 256}

func storeInstances() []instance {
	list := []instance{{file: "store.metal", name: "append"}}
	for _, bits := range []int{8, 4} {
		for _, dim := range headDims {
			list = append(list, quantize(bits, dim))
		}
	}
	return list
}

func TestAppendAndQuantizeStoreWhatTheLayoutSays(t *testing.T) {
	onHosts(t, storeInstances(), func(t *testing.T, b *bench) {
		for _, dim := range headDims {
			t.Run(title("heads of %d", dim), func(t *testing.T) {
				b := b.sub(t)
				const tokens, kvHeads, capacity = 5, 2, 9
				s := shapeOf(4, kvHeads, dim)
				halves := plane.Layout{Bits: 16, Dim: dim}
				size := halves.Bytes(capacity) * kvHeads
				k, v := randoms(1, tokens*kvHeads*dim, 2), randoms(2, tokens*kvHeads*dim, 2)
				clear(k[:dim]) // a group of zeros, too
				want := bytes.Repeat([]byte{0xff}, 2*size)
				for token := range tokens {
					for h := range kvHeads {
						at := (token*kvHeads + h) * dim
						halves.Put(want[h*halves.Bytes(capacity):], capacity, token+2, k[at:at+dim])
						halves.Put(want[size+h*halves.Bytes(capacity):], capacity, token+2, v[at:at+dim])
					}
				}
				kv := buffer(b, bytes.Repeat([]byte{0xff}, 2*size))
				block := Block{K: 0, V: uint64(size), Length: tokens, Capacity: capacity}
				must(b, b.set.Append(b.queue, kv, block, 2, buffer(b, k[:3*kvHeads*dim]), buffer(b, v[:3*kvHeads*dim]), 3, s))
				must(b, b.set.Append(b.queue, kv, block, 5, buffer(b, k[3*kvHeads*dim:]), buffer(b, v[3*kvHeads*dim:]), 2, s))
				got := make([]byte, len(want))
				b.queue.Read(got, kv)
				b.wait()
				if !bytes.Equal(got, want) {
					t.Fatal("append stores other bytes than the layout says")
				}
				for _, bits := range []int{8, 4} {
					l := plane.Layout{Bits: bits, Dim: dim}
					quantized := l.Bytes(tokens) * kvHeads
					from := make([]byte, size)
					want := make([]byte, quantized)
					row := make([]float32, dim)
					for h := range kvHeads {
						for token := range tokens {
							halves.Put(from[h*halves.Bytes(capacity):], capacity, token, k[(token*kvHeads+h)*dim:][:dim])
							halves.Get(row, from[h*halves.Bytes(capacity):], capacity, token)
							l.Put(want[h*l.Bytes(tokens):], tokens, token, row)
						}
					}
					kv := buffer(b, append(append([]byte{}, from...), make([]byte, quantized)...))
					must(b, b.set.Quantize(b.queue, kv, l, 0, uint64(size), tokens, kvHeads, capacity, tokens))
					got := make([]byte, size+quantized)
					b.queue.Read(got, kv)
					b.wait()
					for i, w := range want {
						if got[size+i] != w {
							t.Fatalf("%d bits: byte %d is %#x, not %#x", bits, i, got[size+i], w)
						}
					}
				}
			})
		}
	})
}
