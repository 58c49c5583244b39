package engine

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/sampling"
)

// TestTheDeviceChoosesAsTheSamplerDoes holds tokens, the likeliest and those that are drawn, to the sampler's choice
// from the same logits, and the errors to the sampler's. What the device chooses by itself is chosen without handing
// out logits.
func TestTheDeviceChoosesAsTheSamplerDoes(t *testing.T) {
	drawn := sampling.Params{Temperature: 0.5, TopK: 30, TopP: 0.9, Seed: 7}
	for name, c := range map[string]struct {
		setup func(t *testing.T) setup
		ofIts []sampling.Params // that the device chooses by itself
		other []sampling.Params
	}{
		"CPU":      {func(*testing.T) setup { return setup{model: modeltest.Options{Layers: 1, Tied: true}} }, []sampling.Params{{}}, []sampling.Params{drawn}},
		"emulator": {func(t *testing.T) setup { return emulated(t, setup{}) }, []sampling.Params{{}, drawn}, []sampling.Params{{Temperature: 1e-6, Seed: 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			one := c.setup(t)
			one.nodes = 1
			b := newBench(t, one)
			w := &b.engines[0].work
			layers := model.Range{First: 0, End: b.model.Config.Layers}
			dec, err := b.model.Layers(layers)
			if err != nil {
				t.Fatal(err)
			}
			if err := dec.Load(t.Context(), b.devices[0], nil); err != nil {
				t.Fatal(err)
			}
			defer dec.Unload()
			for i, p := range append(c.ofIts, c.other...) {
				choosesAsTheSampler(t, w, dec, p, i < len(c.ofIts))
			}
			w.scratch.Resize(1)
			h := &header{Sampling: sampling.Params{TopK: -1}}
			c := w.choose(h, dec, 0, 5)
			if err := w.wait(); err != nil {
				t.Fatal(err)
			}
			if _, err := w.chosen(c, h, 5); err == nil || !strings.Contains(err.Error(), "top_k") {
				t.Errorf("a bad parameter: %v", err)
			}
		})
	}
}

func choosesAsTheSampler(t *testing.T, w *workspace, dec *model.Decoder, p sampling.Params, itself bool) {
	t.Helper()
	for name, fill := range map[string]func(i int) float64{
		"all different": func(i int) float64 { return math.Sin(float64(i * i)) },
		"all equal":     func(int) float64 { return 0 },
		"NaN":           func(int) float64 { return math.NaN() },
		"too large":     func(int) float64 { return math.Inf(1) },
	} {
		w.scratch.Resize(2)
		hidden := make([]float32, w.scratch.X.Cols)
		for i := range hidden {
			hidden[i] = float32(fill(i))
		}
		w.stream.Write(w.scratch.X.Slice(1, 2), hidden)
		logits := w.logits.Slice(0, 1)
		dec.Logits(w.stream, w.scratch, 1, 2, logits)
		out := w.stream.Download(bytesOf(logits.Data))
		if err := w.wait(); err != nil {
			t.Fatal(err)
		}
		row, err := viewOf[float32](out, logits.Cols)
		if err != nil {
			t.Fatal(err)
		}
		row = slices.Clone(row)
		for position := range 5 {
			var s sampling.Sampler
			want, wantErr := s.Sample(row, p, position)
			h := &header{Sampling: p}
			c := w.choose(h, dec, 1, position)
			if (c.logits == nil) != itself {
				t.Errorf("%s, %+v: logits are handed out is %v", name, p, c.logits != nil)
			}
			if err := w.wait(); err != nil {
				t.Fatal(err)
			}
			got, err := w.chosen(c, h, position)
			if (err == nil) != (wantErr == nil) || err == nil && got != want || err != nil && err.Error() != wantErr.Error() {
				t.Errorf("%s, %+v: token %d, %v; the sampler says %d, %v", name, p, got, err, want, wantErr)
			}
		}
	}
}
