package bench

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
)

func TestMain(m *testing.M) {
	// protoactor's throttle of its log of dead letters sleeps for a second, whoever is still there.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"))
}

var modes = []orrery.Mode{orrery.Pipeline, orrery.Pooled, orrery.Ring}

// someRates are those of a machine that reads 10 GB/s.
func someRates() placement.Rates {
	var curve placement.Curve
	for i, size := range placement.CurveSizes {
		curve[i] = 1e-6 + size/10e9
	}
	kernels := placement.Kernels{Layer: curve, Product: curve, Attend: curve, Intense: [3]float64{1, 1, 1}}
	return placement.Rates{Memory: kernels, Cache: kernels, PrefillProduct: 1e11, PrefillAttend: 1e11, Crowd: [3]float64{1, 1, 1}, Packed: [2]float64{1, 1}}
}

// load loads a small model on nodes of this process.
func load(t *testing.T, nodes int, o orrery.LoadOptions) (context.Context, *orrery.Model) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	if err := modeltest.Write(dir, modeltest.Options{}); err != nil {
		t.Fatal(err)
	}
	var first *orrery.Cluster
	for i := range nodes {
		cfg := orrery.Config{Name: fmt.Sprintf("n%d", i), Bandwidth: 1e9, NoCalibration: true, Rates: someRates(), Memory: 4 << 30, Threads: 1, Logger: slog.New(slog.DiscardHandler)}
		if first != nil {
			cfg.Join = []string{first.Addr()}
		}
		c, err := orrery.Start(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		if first == nil {
			first = c
		}
	}
	if err := first.WaitNodes(ctx, nodes); err != nil {
		t.Fatal(err)
	}
	m, err := first.Load(ctx, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, m
}

func TestEveryModeIsMeasuredAtEveryDepth(t *testing.T) {
	o := Decoding{Depths: []int{0, 300}, Modes: modes, Batch: 1, Tokens: 3, Repeat: 2}
	told := 0
	o.Done = func(Decoded) { told++ }
	var err error
	if o.Plain, err = cpu.NewPlainRead(1, time.Second); err != nil {
		t.Fatal(err)
	}
	defer o.Plain.Close()
	ctx, m := load(t, 2, orrery.LoadOptions{Context: o.Context(), Chunk: 32, BlockTokens: 16})
	costs, err := m.Costs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	o.Costs = func(context.Context) (map[orrery.Mode]*placement.Cost, error) { asked++; return costs, nil }
	all, err := o.Run(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 || told != 6 || asked != 3 {
		t.Fatalf("%d results, %d told of, predicted from %d measurements", len(all), told, asked)
	}
	const token = 4 * 2 * 2 * 16 * 2 // 4 layers, keys and values of 2 heads of 16 halves
	for i, d := range all {
		if d.Depth != o.Depths[i/3] || d.Mode != modes[i%3] || d.StepBytes != all[0].StepBytes+int64(d.Depth)*token {
			t.Errorf("result %d: %+v", i, d)
		}
		if want := 1 / costs[d.Mode].Step(d.Depth).Seconds(); math.Abs(d.Predicted-want) > 1e-9*want {
			t.Errorf("%v at %d: predicted %v, want %v", d.Mode, d.Depth, d.Predicted, want)
		}
		if !(0 < d.Speed.Min && d.Speed.Min <= d.Speed.Median && d.Speed.Median <= d.Speed.Max) || d.ReadRate() <= 0 || d.Seconds() <= 0 || d.Read.Median <= 0 || d.OfRead.Median <= 0 {
			t.Errorf("%v at %d: %+v", d.Mode, d.Depth, d.Speed)
		}
	}
	var picture bytes.Buffer
	all[4].Predicted = 100
	drawn := Picture{Title: "a title", Unit: "tokens/s", Curves: DecodedCurves(all)}
	if err := drawn.Draw(&picture, "svg"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a title", "pipeline", "pooled, predicted", "ring", "tokens/s"} {
		if !strings.Contains(picture.String(), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
}

func TestEveryRunIsHeldAgainstWhatWasPredictedBeforeAndAfterIt(t *testing.T) {
	o := Comparison{Depths: []int{0, 300}, Modes: modes, Tokens: 9, Rounds: 3, Costs: func(context.Context) (map[orrery.Mode]*placement.Cost, error) { return nil, nil }}
	ctx, m := load(t, 2, orrery.LoadOptions{Context: o.Context(), Sequences: o.Sequences(), Chunk: 32, BlockTokens: 16})
	var asked []map[orrery.Mode]*placement.Cost
	o.Costs = func(ctx context.Context) (map[orrery.Mode]*placement.Cost, error) {
		costs, err := m.Costs(ctx)
		asked = append(asked, costs)
		return costs, err
	}
	told := 0
	o.Done = func(round int) {
		if told != round || len(asked) != round+2 {
			t.Errorf("after round %d, %d others and %d predictions", round, told, len(asked))
		}
		told++
	}
	all, err := o.Run(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 6 || told != o.Rounds {
		t.Fatalf("%d results, %d rounds told of", len(all), told)
	}
	for i, c := range all {
		if c.Depth != o.Depths[i/3] || c.Mode != modes[i%3] || len(c.Runs) != o.Rounds {
			t.Errorf("result %d: %+v", i, c)
		}
		context := c.Depth
		for round, r := range c.Runs {
			if r.Context <= context || r.Speed <= 0 {
				t.Errorf("%v at %d, round %d: %+v", c.Mode, c.Depth, round, r)
			}
			context = r.Context
			before, after := asked[round][c.Mode].Step(r.Context).Seconds(), asked[round+1][c.Mode].Step(r.Context).Seconds()
			if want := 2 / (before + after); r.Predicted != want {
				t.Errorf("%v at %d, round %d: %v tokens/s are predicted, not %v", c.Mode, c.Depth, round, r.Predicted, want)
			}
		}
		if q := c.Ratio(); q.Min > q.Median || q.Median > q.Max || c.Speed().Median <= 0 || c.Predicted().Median <= 0 {
			t.Errorf("%+v", q)
		}
	}
	first := map[int]bool{}
	for round := range modes {
		first[o.place(round, 0)] = true
	}
	if len(first) != len(modes) {
		t.Errorf("the first of a round are %v", first)
	}
	unpredicted := o
	unpredicted.Costs = func(context.Context) (map[orrery.Mode]*placement.Cost, error) { return nil, nil }
	if _, err := unpredicted.Run(ctx, m); err == nil || !strings.Contains(err.Error(), "mode pipeline") {
		t.Errorf("nothing is predicted: %v", err)
	}
	for what, bad := range map[string]Comparison{
		"no depths":        {Modes: modes, Tokens: 1, Rounds: 1, Costs: o.Costs},
		"a negative depth": {Depths: []int{-1}, Modes: modes, Tokens: 1, Rounds: 1, Costs: o.Costs},
		"no modes":         {Depths: []int{0}, Tokens: 1, Rounds: 1, Costs: o.Costs},
		"no tokens":        {Depths: []int{0}, Modes: modes, Rounds: 1, Costs: o.Costs},
		"no rounds":        {Depths: []int{0}, Modes: modes, Tokens: 1, Costs: o.Costs},
		"no predictions":   {Depths: []int{0}, Modes: modes, Tokens: 1, Rounds: 1},
	} {
		if _, err := bad.Run(ctx, nil); err == nil {
			t.Error(what)
		}
	}
}

func TestNothingToMeasureIsAnError(t *testing.T) {
	for what, o := range map[string]Decoding{
		"no depths":        {Modes: modes, Batch: 1, Tokens: 1, Repeat: 1},
		"a negative depth": {Depths: []int{5, -1}, Modes: modes, Batch: 1, Tokens: 1, Repeat: 1},
		"no modes":         {Depths: []int{0}, Batch: 1, Tokens: 1, Repeat: 1},
		"no sequences":     {Depths: []int{0}, Modes: modes, Tokens: 1, Repeat: 1},
		"no tokens":        {Depths: []int{0}, Modes: modes, Batch: 1, Repeat: 1},
		"no runs":          {Depths: []int{0}, Modes: modes, Batch: 1, Tokens: 1},
	} {
		if _, err := o.Run(context.Background(), nil); err == nil {
			t.Error(what)
		}
	}
	if err := new(Picture).Draw(&bytes.Buffer{}, "svg"); err == nil {
		t.Error("a picture of nothing")
	}
	for what, o := range map[string]Prefilling{
		"no depths":         {Tokens: []int{1}, Modes: modes, Repeat: 1},
		"a negative depth":  {Depths: []int{-1}, Tokens: []int{1}, Modes: modes, Repeat: 1},
		"no prompts":        {Depths: []int{0}, Modes: modes, Repeat: 1},
		"a prompt of none":  {Depths: []int{0}, Tokens: []int{5, 0}, Modes: modes, Repeat: 1},
		"no modes":          {Depths: []int{0}, Tokens: []int{1}, Repeat: 1},
		"no runs of prompt": {Depths: []int{0}, Tokens: []int{1}, Modes: modes},
	} {
		if _, err := o.Run(context.Background(), nil); err == nil {
			t.Error(what)
		}
	}
}

func TestSequencesGenerateAtTheSameTime(t *testing.T) {
	o := Decoding{Depths: []int{100}, Modes: modes, Batch: 3, Tokens: 3, Repeat: 1}
	ctx, m := load(t, 2, orrery.LoadOptions{Context: o.Context(), Sequences: o.Batch, Chunk: 32, BlockTokens: 16})
	all, err := o.Run(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Speed.Median <= 0 {
			t.Errorf("%+v", d)
		}
	}
	crowded := Decoding{Depths: []int{100}, Modes: modes[:1], Batch: 4, Tokens: 3, Repeat: 1}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := crowded.Run(short, m); err == nil {
		t.Error("there was room for a sequence more than the model was loaded for")
	}
}

func TestEveryPromptIsReadInEveryMode(t *testing.T) {
	o := Prefilling{Depths: []int{0, 300}, Tokens: []int{40, 130}, Modes: modes, Repeat: 2}
	told := 0
	o.Done = func(Prefilled) { told++ }
	ctx, m := load(t, 2, orrery.LoadOptions{Context: o.Context(), Chunk: 32, BlockTokens: 16})
	all, err := o.Run(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 12 || told != 12 {
		t.Fatalf("%d results, %d told of", len(all), told)
	}
	for i, p := range all {
		if p.Depth != o.Depths[i/6] || p.Tokens != o.Tokens[i/3%2] || p.Mode != modes[i%3] {
			t.Errorf("result %d: %+v", i, p)
		}
		if p.Speed.Median <= 0 || p.Seconds() <= 0 || p.Rate() <= 0 {
			t.Errorf("%+v", p)
		}
	}
	limits := NewLimits(1)
	defer limits.Close()
	o = Prefilling{Depths: []int{0}, Tokens: []int{40}, Modes: modes[:1], Repeat: 1, Limits: limits}
	held, err := o.Run(ctx, m)
	if err != nil || len(held) != 1 {
		t.Fatalf("%v, %v", held, err)
	}
	if p := held[0]; p.Peak.Median <= 0 || p.Product.Median <= 0 || p.OfPeak.Median <= 0 || p.OfProduct.Median <= 0 {
		t.Errorf("%+v", p)
	}
	// Each of 40 tokens sees 300 more: in 4 layers, for 4 heads of 16, a multiplication and an addition for its score, and as many for its value.
	if got, want := all[6].Operations-all[0].Operations, 40*300*4*4*64.0; got != want {
		t.Errorf("the depth costs %g operations, not %g", got, want)
	}
	if curves := PrefilledCurves(all); len(curves) != 6 || len(curves[0].Points) != 2 {
		t.Errorf("%+v", curves)
	}
}

func TestAnExerciseUsesTheWholeContextInEveryMode(t *testing.T) {
	const context = 700
	ctx, m := load(t, 3, orrery.LoadOptions{Context: context, Chunk: 32, BlockTokens: 16})
	for _, mode := range modes {
		computed := 0
		e := Exercise{Mode: mode, Compute: 96, Last: 40, Decode: 9, Progress: func(done, total int) { computed = done }}
		if err := e.Run(ctx, m); err != nil {
			t.Fatalf("%v: %v", mode, err)
		}
		if computed != e.Last+1 { // and the token that was generated before
			t.Errorf("%v: %d tokens were computed behind the made-up ones", mode, computed)
		}
	}
	short := Exercise{Mode: orrery.Pipeline, Compute: 300, Last: 40, Decode: 9}
	if err := short.Run(ctx, m); err != nil {
		t.Errorf("a context without room for all: %v", err)
	}
	for what, e := range map[string]Exercise{
		"nothing to compute": {Mode: orrery.Pipeline, Last: 1, Decode: 1},
		"nothing to decode":  {Mode: orrery.Pipeline, Compute: 1, Last: 1},
		"a context too long": {Mode: orrery.Pipeline, Compute: 1, Last: 1, Decode: context},
	} {
		if err := e.Run(ctx, m); err == nil {
			t.Error(what)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1}, Spread{1, 2.5, 4}},
		{[]float64{5, 1, 2}, Spread{1, 2, 5}},
		{[]float64{9, 1, 4, 2}, Spread{1, 3, 9}},
	} {
		if got := SpreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
}
