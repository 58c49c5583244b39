package model_test

import (
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model"
)

// node runs a range of layers as a node does, with a cache of one block for each of its layers.
type node struct {
	d   *model.Decoder
	s   *model.Scratch
	st  device.Stream
	kv  []attention.KV
	acc attention.Partial
}

func newNode(t *testing.T, m *model.Model, st device.Stream, r model.Range, context, rows int) *node {
	t.Helper()
	d, err := m.Layers(r)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{d: d, s: model.NewScratch(&m.Config, rows), st: st, kv: make([]attention.KV, r.Len()), acc: attention.NewPartial(rows, d.Shape())}
	for i := range n.kv {
		bytes := context * d.Shape().KVBytes(attention.F16) / 2
		if ref, ok := st.(reference); ok && ref.exact {
			bytes *= 2
		}
		n.kv[i] = attention.KV{Format: attention.F16, HeadDim: d.Shape().HeadDim, Cap: context, K: make([]byte, bytes), V: make([]byte, bytes)}
	}
	return n
}

// step runs the layers over the rows of n.s.X, which stand at positions first, first+1, ….
func (n *node) step(first int) {
	rows := n.s.Rows()
	n.d.Angles(n.st, n.s, 0, first, rows)
	for l := n.d.Range.First; l < n.d.Range.End; l++ {
		kv := &n.kv[l-n.d.Range.First]
		n.d.QKV(n.st, l, n.s)
		n.st.Append(kv, kv.Len, n.s.K, n.s.V)
		kv.Len += rows
		part := n.acc.Slice(0, rows)
		part.Reset()
		n.st.Attend(part, n.s.Q, first, n.d.Shape(), []attention.KV{*kv})
		n.st.Finish(n.s.Attn, part)
		n.d.AfterAttention(n.st, l, n.s)
	}
}

// logits runs ids through m, layers cut into ranges before each of cuts, tokens into steps of at most
// chunk, and returns the logits of every position: [len(ids)][vocabulary].
func logits(t *testing.T, m *model.Model, st device.Stream, ids []int32, chunk int, cuts ...int) device.Tensor {
	t.Helper()
	var nodes []*node
	first := 0
	for _, end := range append(cuts, m.Config.Layers) {
		nodes = append(nodes, newNode(t, m, st, model.Range{First: first, End: end}, len(ids), chunk))
		first = end
	}
	out := device.NewTensor(len(ids), m.Config.Vocab)
	for at := 0; at < len(ids); at += chunk {
		rows := min(chunk, len(ids)-at)
		nodes[0].d.Embed(st, nodes[0].s, ids[at:at+rows])
		for i, n := range nodes {
			if i > 0 {
				n.s.Resize(rows)
				copy(n.s.X.Data, nodes[i-1].s.X.Data)
			}
			n.step(at)
		}
		last := nodes[len(nodes)-1]
		last.d.Logits(st, last.s, 0, rows, out.Slice(at, at+rows))
		if err := st.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
