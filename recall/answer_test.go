package recall_test

import (
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/recall"
)

// talk is a conversation with the embedded model on one node, with a cache of one block for each layer.
type talk struct {
	d   *model.Decoder
	st  device.Stream
	s   *model.Scratch
	acc attention.Partial
	kv  []attention.KV
	out device.Tensor // logits of the last token
}

const chunk = 256

func newTalk(t *testing.T, context int) *talk {
	t.Helper()
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	dev := cpu.New(2)
	t.Cleanup(func() { dev.Close() })
	shape := d.Shape()
	k := &talk{
		d: d, st: dev.NewStream(), s: model.NewScratch(&m.Config, chunk), acc: attention.NewPartial(chunk, shape),
		kv: make([]attention.KV, m.Config.Layers), out: device.NewTensor(1, m.Config.Vocab),
	}
	for i := range k.kv {
		n := context * shape.KVBytes(attention.F16) / 2
		k.kv[i] = attention.KV{Format: attention.F16, HeadDim: shape.HeadDim, Cap: context, K: make([]byte, n), V: make([]byte, n)}
	}
	return k
}

// read takes tokens into the context and returns the most likely next one.
func (k *talk) read(t *testing.T, ids []int32) int32 {
	t.Helper()
	for len(ids) > 0 {
		n := min(len(ids), chunk)
		first := k.kv[0].Len
		k.d.Embed(k.st, k.s, ids[:n])
		k.d.Angles(k.st, k.s, 0, first, n)
		for l := range k.kv {
			kv := &k.kv[l]
			k.d.QKV(k.st, l, k.s)
			k.st.Append(kv, first, k.s.K, k.s.V)
			kv.Len = first + n
			part := k.acc.Slice(0, n)
			part.Reset()
			k.st.Attend(part, k.s.Q, first, k.d.Shape(), []attention.KV{*kv})
			k.st.Finish(k.s.Attn, part)
			k.d.AfterAttention(k.st, l, k.s)
		}
		k.d.Logits(k.st, k.s, n-1, n, k.out)
		if err := k.st.Wait(); err != nil {
			t.Fatal(err)
		}
		ids = ids[n:]
	}
	best := 0
	for i, v := range k.out.Data {
		if v > k.out.Data[best] {
			best = i
		}
	}
	return int32(best)
}

// TestTheModelFindsCodesInComposedDocuments asks for every code of a document, one after the other.
func TestTheModelFindsCodesInComposedDocuments(t *testing.T) {
	tk := loadTokenizer(t)
	const tokens, turn, longest = 1500, 80, 48
	doc, err := recall.Compose(counter(t), tokens, 5, 5)
	if err != nil {
		t.Fatal(err)
	}
	k := newTalk(t, tokens+len(doc.Codes)*(turn+longest))
	stop := k.d.Config.EOS[0]
	k.read(t, must(tk.Encode(doc.Text, true)))
	right := 0
	for i, c := range doc.Codes {
		question := append([]int32{stop}, must(tk.Encode(c.NextTurn(), true))...)
		if i == 0 {
			question = must(tk.Encode(c.FirstTurn(), true))
		}
		var said []int32
		for id := k.read(t, question); id != stop && len(said) < longest; id = k.read(t, []int32{id}) {
			said = append(said, id)
		}
		if got := strings.TrimSpace(tk.Decode(said)); got == c.Answer() {
			right++
		} else {
			t.Logf("asked for the %s at depth %.2f, the model says %q, the document %q", c.Name, c.Depth, got, c.Answer())
		}
	}
	if right < len(doc.Codes)-1 { // trained to be right 97 times in 100
		t.Errorf("%d of %d answers are right", right, len(doc.Codes))
	}
}
