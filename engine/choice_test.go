package engine

import (
	"math"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/sampling"
)

// TestTheDeviceChoosesAsTheSamplerDoes holds the likeliest token, chosen without handing out logits, to the sampler's choice among them, and its errors
// to the sampler's.
func TestTheDeviceChoosesAsTheSamplerDoes(t *testing.T) {
	b := newBench(t, setup{nodes: 1, model: modeltest.Options{Layers: 1, Tied: true}})
	w := &b.engines[0].work
	dec, err := b.model.Layers(model.Range{First: 0, End: 1})
	if err != nil {
		t.Fatal(err)
	}
	vocab := b.model.Config.Vocab
	for name, fill := range map[string]func(i int) float64{
		"all different": func(i int) float64 { return math.Sin(float64(i * i)) },
		"all equal":     func(int) float64 { return 0 },
		"NaN":           func(int) float64 { return math.NaN() },
		"too large":     func(int) float64 { return math.Inf(1) },
	} {
		w.scratch.Resize(2)
		for i := range w.scratch.X.Row(1) {
			w.scratch.X.Row(1)[i] = float32(fill(i))
		}
		logits := w.logits.Slice(0, 1)
		dec.Logits(w.stream, w.scratch, 1, 2, logits)
		var s sampling.Sampler
		want, wantErr := s.Sample(append([]float32(nil), logits.Data[:vocab]...), sampling.Params{}, 5)
		h := &header{}
		c := w.choose(h, dec, 1)
		if c.logits != nil {
			t.Errorf("%s: logits are handed out", name)
		}
		got, err := w.chosen(c, h, 5)
		if (err == nil) != (wantErr == nil) || err == nil && got != want || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%s: token %d, %v; the sampler says %d, %v", name, got, err, want, wantErr)
		}
		h.Sampling = sampling.Params{Temperature: 0.5, TopK: 3, Seed: 7}
		want, wantErr = s.Sample(append([]float32(nil), logits.Data[:vocab]...), h.Sampling, 5)
		if got, err := w.chosen(w.choose(h, dec, 1), h, 5); (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Errorf("%s, drawn: token %d, %v; the sampler says %d, %v", name, got, err, want, wantErr)
		}
	}
	h := &header{Sampling: sampling.Params{TopK: -1}}
	if _, err := w.chosen(w.choose(h, dec, 0), h, 5); err == nil || !strings.Contains(err.Error(), "top_k") {
		t.Errorf("a bad parameter: %v", err)
	}
}
