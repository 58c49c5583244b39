package metalkern

import (
	"math"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/metalkern/kernels"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// emulated is how many tokens of each golden an emulator reads.
const emulated = 19

// limit is that of the root of the mean square of errors, in spreads of the logits. Keys and values in halves make up to 8e-4 of it.
const limit = 1e-3

// TestLogitsEqualTransformers holds every architecture, way of scaling positions and type of weights to transformers in float32: in steps of a few tokens
// and in larger ones, which other kernels compute. What is left is mostly the rounding of keys and values to halves.
func TestLogitsEqualTransformers(t *testing.T) {
	dev := open(t)
	for _, g := range modeltest.Goldens(t, "../model/testdata/goldens") {
		t.Run(g.Name, func(t *testing.T) {
			m, err := model.Open(g.Dir(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { m.Close() })
			ids, want := g.IDs(t), g.Logits(t)
			if dev.host.Info().Kind == "emulator" { // slow
				ids = ids[:emulated]
			}
			want.Rows, want.Data = len(ids), want.Data[:len(ids)*want.Cols]
			for _, rows := range [][]int{{kernels.MatvecTokens, 1, 2, 1, 5, 1, 1}, {32}} { // of the steps, in turn
				k := newTalker(t, m, dev, attention.F16, slices.Max(rows))
				var got []float32
				for at, step := 0, 0; at < len(ids); step++ {
					n := min(rows[step%len(rows)], len(ids)-at, blockTokens-at%blockTokens)
					got = append(got, k.step(ids[at:at+n], 0)...)
					at += n
				}
				var sum, squares, errs float64
				for i, w := range want.Data {
					sum, squares = sum+float64(w), squares+float64(w)*float64(w)
					e := float64(got[i]) - float64(w)
					errs += e * e
				}
				n := float64(len(want.Data))
				rms := math.Sqrt(errs/n) / math.Sqrt(squares/n-sum*sum/n/n)
				t.Logf("steps of %v: error in spreads: root mean square %.2e", rows, rms)
				if !(rms < limit) {
					t.Errorf("steps of %v: error in spreads: root mean square %.2e; the limit is %.0e", rows, rms, limit)
				}
			}
		})
	}
}
