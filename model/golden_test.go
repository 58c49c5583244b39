package model_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// goldenDir is what research/make_goldens.py made with transformers.
const goldenDir = "testdata/goldens"

// TestLogitsEqualTransformers holds every architecture, way of scaling positions, type of weights and
// spelling of config.json to transformers in float32: once with a float32 cache, where only rounding
// is left, then with the 16-bit cache that nodes have, and last on the device that every node has.
func TestLogitsEqualTransformers(t *testing.T) {
	for _, g := range modeltest.Goldens(t, goldenDir) {
		t.Run(g.Name, func(t *testing.T) {
			m, ids, want := openGolden(t, g), g.IDs(t), g.Logits(t)
			compare(t, logits(t, m, reference{exact: true}, ids, 40, 1), want, 3e-6)
			compare(t, logits(t, m, reference{}, ids, 40, 1), want, 1e-3)
			compare(t, logits(t, m, cpuStream(t), ids, 40, 1), want, 1e-3)
		})
	}
}

// TestRecallEqualsTransformers runs the model that ships over a prompt with its answer.
func TestRecallEqualsTransformers(t *testing.T) {
	m := openRecall(t)
	g := modeltest.Golden{Name: "recall", Root: goldenDir}
	ids, want := g.IDs(t), g.Logits(t)
	compare(t, recallRows(t, logits(t, m, cpuStream(t), ids, 128)), want, 1e-3)
}

// cpuStream is a stream of the device that every node has.
func cpuStream(t *testing.T) device.Stream {
	t.Helper()
	d := cpu.New(2)
	t.Cleanup(func() { d.Close() })
	return d.NewStream()
}

// recallRows picks the rows that the golden of the embedded model keeps.
func recallRows(t *testing.T, all device.Tensor) device.Tensor {
	t.Helper()
	positions := modeltest.Golden{Name: "recall", Root: goldenDir}.Positions(t)
	out := device.NewTensor(len(positions), all.Cols)
	for i, at := range positions {
		copy(out.Row(i), all.Row(int(at)))
	}
	return out
}

// compare allows differences of a part of the logits' spread, their standard deviation: limit in the
// root of the mean square, and sixteen times limit in the worst of the thousands of them: random models
// have a few tokens whose attention a rounding can turn.
func compare(t *testing.T, got, want device.Tensor, limit float64) {
	t.Helper()
	if got.Rows != want.Rows || got.Cols != want.Cols {
		t.Fatalf("logits are [%d][%d], want [%d][%d]", got.Rows, got.Cols, want.Rows, want.Cols)
	}
	var sum, squares, errs, worst float64
	for i, w := range want.Data {
		sum += float64(w)
		squares += float64(w) * float64(w)
		e := math.Abs(float64(got.Data[i]) - float64(w))
		if math.IsNaN(e) {
			t.Fatalf("logit %d is NaN", i)
		}
		errs += e * e
		worst = max(worst, e)
	}
	n := float64(len(want.Data))
	spread := math.Sqrt(squares/n - sum*sum/n/n)
	rms := math.Sqrt(errs/n) / spread
	worst /= spread
	t.Logf("spread %.3f; error in spreads: root mean square %.2e, worst %.2e", spread, rms, worst)
	if rms > limit || worst > 16*limit {
		t.Errorf("error in spreads: root mean square %.2e, worst %.2e; the limit is %.0e", rms, worst, limit)
	}
}

// openGolden opens a golden's model until the test ends.
func openGolden(t *testing.T, g modeltest.Golden) *model.Model {
	t.Helper()
	m, err := model.Open(g.Dir(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// openRecall opens the files of package recall, which imports this one.
func openRecall(t *testing.T) *model.Model {
	t.Helper()
	m, err := model.Open("../recall/model")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestGoldensCoverEverySpelling keeps the goldens from losing what they are for.
func TestGoldensCoverEverySpelling(t *testing.T) {
	seen := map[string]int{}
	for _, g := range modeltest.Goldens(t, goldenDir) {
		m := openGolden(t, g)
		b, err := m.File("config.json")
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]any
		if err := json.Unmarshal(b, &c); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"rope_scaling", "rope_parameters", "rope_theta"} {
			if c[field] != nil {
				seen[field]++
			}
		}
		if c["rope_theta"] == nil && c["rope_parameters"] == nil {
			seen["default theta"]++
		}
		seen[fmt.Sprintf("%s %s tied %v", m.Config.ModelType, m.Config.Rope.Type, m.Config.Tied)]++
		if m.Config.HeadDim*m.Config.Heads != m.Config.Hidden {
			seen["wide heads"]++
		}
		if e := &m.Config.Experts; e.Count > 0 {
			seen[map[bool]string{true: "experts that are normalized", false: "experts that are not normalized"}[e.Normalized]]++
			if m.Config.Intermediate > 0 {
				seen["experts beside dense layers"]++
			}
		}
		seen[c["torch_dtype"].(string)]++
	}
	for _, want := range []string{
		"rope_scaling", "rope_parameters", "rope_theta", "default theta", "wide heads", "float32", "float16", "bfloat16",
		"llama default tied true", "llama default tied false", "llama linear tied true", "llama linear tied false",
		"llama llama3 tied true", "llama llama3 tied false", "qwen3 default tied true", "qwen3 default tied false",
		"qwen3_moe default tied true", "qwen3_moe default tied false", "mixtral default tied false", "experts beside dense layers", "experts that are normalized",
		"experts that are not normalized",
	} {
		if seen[want] == 0 {
			t.Errorf("no golden has %q", want)
		}
	}
}
