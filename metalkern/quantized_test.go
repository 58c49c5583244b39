package metalkern

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// TestQuantizedModelsSayTheSameAsOnTheCPU generates with a model in each format, without experts and with: behind a prompt of many tokens, and one of a few.
func TestQuantizedModelsSayTheSameAsOnTheCPU(t *testing.T) {
	dev, processor := open(t), cpu.New(1)
	defer processor.Close()
	for name, o := range map[string]modeltest.Options{"llama": {}, "with experts": {ModelType: "qwen3_moe", Experts: 4}} {
		o.Layers, o.Hidden, o.Intermediate, o.Heads, o.KVHeads, o.HeadDim = 2, 256, 256, 4, 2, 64
		dir := t.TempDir()
		if err := modeltest.Write(dir, o); err != nil {
			t.Fatal(err)
		}
		for _, f := range quantizedFormats {
			if o.Experts > 0 && (f == device.Q8_0 || f == device.Q4_0) { // TestExpertsComputeAsOnTheCPU has them
				continue
			}
			t.Run(name+" in "+f.String(), func(t *testing.T) {
				path := t.TempDir()
				var err error
				if f.Affine() {
					err = modeltest.WriteMLX(path, dir, modeltest.MLXOptions{Bits: map[device.Format]int{device.MLX4: 4, device.MLX8: 8}[f], Group: 64, Numbers: device.BF16})
				} else {
					path = filepath.Join(path, "model.gguf")
					err = modeltest.WriteGGUF(path, dir, f)
				}
				if err != nil {
					t.Fatal(err)
				}
				m, err := model.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				for _, prompt := range []int{21, 5} {
					ids := make([]int32, prompt)
					for i := range ids {
						ids[i] = int32((i*i*31 + i*7 + 11) % m.Config.Vocab)
					}
					want, said := generate(t, m, processor, attention.F16, chunk, ids, 4)
					got, also := generate(t, m, dev, attention.F16, chunk, ids, 4)
					if !slices.Equal(said, also) {
						t.Fatalf("after %d tokens come %v, not %v", prompt, also, said)
					}
					sum, worst := 0.0, 0.0
					for i, v := range want {
						sum, worst = sum+float64(v)*float64(v), max(worst, math.Abs(float64(got[i]-v)))
					}
					worst /= math.Sqrt(sum / float64(len(want)))
					t.Logf("after %d tokens the worst logit is off by %.2g of their root mean square", prompt, worst)
					if !(worst < 1e-2) { // weights are rounded to halves in prefill, keys and values always
						t.Errorf("after %d tokens the worst logit is off by %.2g of their root mean square", prompt, worst)
					}
				}
			})
		}
	}
}
