package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/trace"
)

type traceCmd struct {
	Model  modelFlag  `help:"Directory or GGUF file of a model, which every node has, or \"recall\", the one that comes with Orrery." default:"recall" placeholder:"DIR" group:"Model:"`
	KV     kvFlag     `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16" group:"Model:"`
	Chunk  chunkFlag  `help:"Tokens that a node computes at a time in prefill." default:"1024" group:"Model:"`
	Block  blockFlag  `help:"Tokens of a KV block." default:"256" group:"Model:"`
	Mode   []modeFlag `help:"Parallelism modes, each traced by itself: pipeline, pooled, ring (default: pipeline)." placeholder:"MODE" group:"What to trace:"`
	Prompt string     `help:"The prompt (default: one of --tokens made-up tokens)." placeholder:"TEXT" group:"What to trace:"`
	Tokens countFlag  `help:"Tokens of a made-up prompt." default:"2048" group:"What to trace:"`
	Decode countFlag  `name:"max-tokens" help:"Tokens to generate." default:"128" group:"What to trace:"`
	Spans  spansFlag  `help:"Room for so many spans on each node, of 64 bytes each." default:"262144" group:"What to trace:"`
	Output string     `short:"o" help:"File to write the trace to, which ui.perfetto.dev and chrome://tracing open; of several modes, a file each, named after it." type:"path" placeholder:"FILE.json" group:"What to write:"`
	Format string     `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table" group:"What to write:"`

	benchedFlags `embed:"" group:"Where to compute:"`
}

// Help is shown below the flags' summary.
func (traceCmd) Help() string {
	return `Examples:
  orrery trace --nodes 3 --threads 1 --mode pooled -o trace.json
  orrery trace --nodes 3 --threads 1 --mode pipeline,pooled,ring --synch safe
  orrery trace --nodes 2 --threads 1 --mode ring --tokens 16384 -o ring.json
  orrery trace --join 192.168.1.10:7946 --model /models/llama \
    --prompt 'Once' -o trace.json

It generates, and records what every node computes, waits for and sends, for
each layer of each token. Without --nodes and --join it traces one node process.
docs/tracing.md explains what the spans and the tables say.`
}

// Validate looks at the flags together.
func (c *traceCmd) Validate() error { return c.check() }

// AfterApply looks at the files that the flags name: now, and not after the generation.
func (c *traceCmd) AfterApply() error {
	if len(c.Mode) == 0 {
		c.Mode = []modeFlag{modeFlag(orrery.Pipeline)}
	}
	for _, mode := range c.Mode {
		if err := canWrite("--output", c.path(orrery.Mode(mode))); err != nil {
			return err
		}
	}
	return cmp.Or(c.Model.find(), c.TLS.load())
}

// Run traces.
func (c *traceCmd) Run(ctx context.Context, log *slog.Logger) error {
	on, err := c.begin(ctx, log)
	if err != nil {
		return err
	}
	defer on.end()
	r := &traceReport{Model: c.Model.name, Synch: orrery.Synch(c.Synch).String(), Threads: on.threads}
	if on.nodes*on.threads > runtime.NumCPU() {
		r.Notes = append(r.Notes, fmt.Sprintf("%s of %s share %s with each other and with this command: what they take includes waiting for one.",
			counted(on.nodes, "node"), counted(on.threads, "thread"), counted(runtime.NumCPU(), "core")))
	}
	m, err := on.cluster.Load(ctx, c.Model.ref, orrery.LoadOptions{Mode: orrery.Mode(c.Mode[0]), Context: c.context(), Chunk: int(c.Chunk), BlockTokens: int(c.Block), KV: orrery.KVFormat(c.KV)})
	if err != nil {
		return err
	}
	for _, mode := range c.Mode {
		tr, err := c.trace(ctx, m, orrery.Mode(mode))
		if err != nil {
			return fmt.Errorf("mode %v: %w", orrery.Mode(mode), err)
		}
		r.add(orrery.Mode(mode), tr)
		if err := c.save(tr, r, orrery.Mode(mode)); err != nil {
			return err
		}
	}
	return writeReport(os.Stdout, c.Format, r)
}

// context is room for the prompt and what is generated.
func (c *traceCmd) context() int {
	return max(int(c.Tokens), len(c.Prompt)+templateTokens) + int(c.Decode)
}

// trace generates once, and gives what was recorded meanwhile.
func (c *traceCmd) trace(ctx context.Context, m *orrery.Model, mode orrery.Mode) (*trace.Trace, error) {
	session, err := m.NewSession(ctx, orrery.SessionOptions{Mode: mode})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	tracing, err := m.Trace(ctx, orrery.TraceOptions{Spans: int(c.Spans)})
	if err != nil {
		return nil, err
	}
	err = c.generate(ctx, m, session)
	tr, stopped := tracing.Stop(ctx)
	return tr, errors.Join(err, stopped)
}

func (c *traceCmd) generate(ctx context.Context, m *orrery.Model, s *orrery.Session) error {
	o := orrery.GenerateOptions{MaxTokens: int(c.Decode), IgnoreEOS: true, Progress: prefillProgress("prefill")}
	generate := func() (*orrery.Generation, error) { return s.GenerateIDs(ctx, madeUp(int(c.Tokens), m.Vocab()), o) }
	if c.Prompt != "" {
		generate = func() (*orrery.Generation, error) { return s.Generate(ctx, c.Prompt, o) }
	}
	g, err := generate()
	if err != nil {
		return err
	}
	for _, err := range g.Tokens() {
		if err != nil {
			return err
		}
	}
	return nil
}

// madeUp is n tokens of a vocabulary, the same every time.
func madeUp(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i * 7919 % vocab)
	}
	return ids
}

// path is the file for the trace of a mode, or "".
func (c *traceCmd) path(mode orrery.Mode) string {
	if c.Output == "" || len(c.Mode) == 1 {
		return c.Output
	}
	ext := filepath.Ext(c.Output)
	return strings.TrimSuffix(c.Output, ext) + "-" + mode.String() + ext
}

// save writes the trace of a mode, if it is wanted.
func (c *traceCmd) save(tr *trace.Trace, r *traceReport, mode orrery.Mode) error {
	path := c.path(mode)
	if path == "" {
		return nil
	}
	about := map[string]string{"orrery": orrery.Version, "model": c.Model.name, "mode": mode.String(), "synch": r.Synch}
	if err := writeFile("--output", path, func(f *os.File) error { return tr.WriteChrome(f, about) }); err != nil {
		return err
	}
	r.Files = append(r.Files, path)
	return nil
}
