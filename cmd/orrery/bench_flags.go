package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/bench"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

// decodingFlags say what bench decode measures.
type decodingFlags struct {
	Model  modelFlag     `help:"Directory or GGUF file of a model, which every node has, or \"recall\", the one that comes with Orrery." default:"recall" placeholder:"DIR"`
	Depth  []depthFlag   `help:"Tokens in the cache when decoding begins (default: ${default})." default:"0,4096,16384" placeholder:"N"`
	Modes  []modeFlag    `help:"Modes: pipeline, pooled, ring." placeholder:"MODE"`
	KV     kvFlag        `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16"`
	Block  blockFlag     `help:"Tokens of a KV block." default:"256"`
	Batch  sequencesFlag `help:"Sequences that generate at the same time. Steps compute up to eight of them together, and read the weights once for all." default:"1"`
	Tokens countFlag     `help:"Tokens of each sequence to generate in each run." default:"32"`
	Repeat countFlag     `help:"Runs." default:"5"`

	Settle time.Duration `help:"How long to leave the nodes alone once the model is loaded: weights that the CPU reads from a file then move into huge pages." default:"0s"`

	pictureFlags
}

// decoding is what to measure.
func (f *decodingFlags) decoding() *bench.Decoding {
	d := &bench.Decoding{Batch: int(f.Batch), Tokens: int(f.Tokens), Repeat: int(f.Repeat)}
	for _, n := range f.Depth {
		d.Depths = append(d.Depths, int(n))
	}
	for _, m := range f.Modes {
		d.Modes = append(d.Modes, orrery.Mode(m))
	}
	return d
}

// measure loads the model on a cluster and measures it, beside a plain read unless that is nil.
func (f *decodingFlags) measure(ctx context.Context, c *orrery.Cluster, plain *cpu.PlainRead, r *decodingReport) error {
	d := f.decoding()
	d.Plain = plain
	if _, err := c.MeasureTurn(ctx); err != nil {
		r.notes = append(r.notes, "Predictions take this command to hand out steps in no time: "+err.Error())
	}
	m, err := c.Load(ctx, f.Model.ref, orrery.LoadOptions{Mode: d.Modes[0], Context: d.Context(), Sequences: d.Batch, BlockTokens: int(f.Block), KV: orrery.KVFormat(f.KV)})
	if err != nil {
		return fmt.Errorf("%d tokens for --depth, --tokens and --repeat: %w", d.Context(), err)
	}
	for _, mode := range d.Modes {
		if why := m.Plans().Refused[mode]; why != nil {
			return fmt.Errorf("mode %v: %w", mode, why)
		}
	}
	if _, err := m.Costs(ctx); err != nil {
		r.Unpredicted = err.Error()
	} else {
		d.Costs = func(ctx context.Context) (map[orrery.Mode]*placement.Cost, error) { return predict(ctx, m, r) }
	}
	d.Done = sayMeasured()
	select {
	case <-time.After(f.Settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	measured, err := d.Run(ctx, m)
	r.add(measured)
	return err
}

// predict predicts by what the nodes can do now: a machine that is shared with others is faster in one minute than in another. Of nodes that do not measure that again,
// it goes by what they measured when they started.
func predict(ctx context.Context, m *orrery.Model, r *decodingReport) (map[orrery.Mode]*placement.Cost, error) {
	costs, err := m.CostsNow(ctx)
	if err == nil || ctx.Err() != nil {
		return costs, err
	}
	if note := "Predictions go by what the nodes measured when they started: " + err.Error(); !slices.Contains(r.notes, note) {
		r.notes = append(r.notes, note)
	}
	return m.Costs(ctx)
}

// write prints the report, and draws the picture.
func (f *decodingFlags) write(r *decodingReport) error {
	return f.writeAll(r, &bench.Picture{Title: r.title(), Unit: "tokens/s", Curves: bench.DecodedCurves(r.measured)})
}

// sayMeasured says on a terminal what has been measured, as it comes.
func sayMeasured() func(bench.Decoded) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return func(d bench.Decoded) {
		fmt.Fprintf(os.Stderr, "%v at %d tokens: %.1f tokens/s\n", d.Mode, d.Depth, d.Speed.Median)
	}
}
