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

func TestAppendStoresWhatTheLayoutSays(t *testing.T) {
	onHosts(t, storeInstances(), func(t *testing.T, b *bench) {
		for _, dim := range headDims {
			for _, bits := range []int{16, 8, 4} {
				t.Run(title("%d bits, heads of %d", bits, dim), func(t *testing.T) {
					b := b.sub(t)
					const tokens, kvHeads, capacity = 5, 2, 9
					s, l := shapeOf(4, kvHeads, dim), plane.Layout{Bits: bits, Dim: dim}
					size := l.Bytes(capacity) * kvHeads
					k, v := randoms(1, tokens*kvHeads*dim, 2), randoms(2, tokens*kvHeads*dim, 2)
					clear(k[:dim]) // a group of zeros, too
					want := bytes.Repeat([]byte{0xff}, 2*size)
					for token := range tokens {
						for h := range kvHeads {
							at := (token*kvHeads + h) * dim
							l.Put(want[h*l.Bytes(capacity):], capacity, token+2, k[at:at+dim])
							l.Put(want[size+h*l.Bytes(capacity):], capacity, token+2, v[at:at+dim])
						}
					}
					kv := buffer(b, bytes.Repeat([]byte{0xff}, 2*size))
					block := Block{K: 0, V: uint64(size), Length: tokens, Capacity: capacity}
					must(b, b.set.Append(b.queue, kv, block, bits, 2, buffer(b, k[:3*kvHeads*dim]), buffer(b, v[:3*kvHeads*dim]), 3, s))
					must(b, b.set.Append(b.queue, kv, block, bits, 5, buffer(b, k[3*kvHeads*dim:]), buffer(b, v[3*kvHeads*dim:]), 2, s))
					got := make([]byte, len(want))
					b.queue.Read(got, kv)
					b.wait()
					for i, w := range want {
						if got[i] != w {
							t.Fatalf("byte %d is %#x, not %#x", i, got[i], w)
						}
					}
				})
			}
		}
	})
}
