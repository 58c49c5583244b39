package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/plan"
)

type planCmd struct {
	Model      string       `help:"Directory with a config.json, or such a file, whose weights are not needed; or a GGUF file, or \"recall\", the one that comes with Orrery." required:"" placeholder:"DIR|FILE"`
	Cluster    string       `help:"YAML file that describes nodes and links." xor:"which" type:"existingfile" placeholder:"FILE"`
	Context    countFlag    `help:"Tokens of each sequence, all of which must fit." required:"" placeholder:"N"`
	Sequences  countFlag    `help:"Sequences at the same time." default:"1" placeholder:"N"`
	KV         plan.KV      `name:"kv" help:"Storage of keys and values: f16, q8 or q4." default:"f16"`
	Weights    plan.Weights `help:"Storage of matrices: bf16, q8, q6, q5, q4, or stored, as the model's files have them (default: stored for a GGUF file and recall, else q4). Experts that are published in MXFP4 stay so." placeholder:"FORMAT"`
	Link       string       `help:"Link of the file that joins all nodes (default: as the file has it)." placeholder:"NAME"`
	Mode       modeFlag     `help:"Plan this mode only: pipeline, pooled or ring." placeholder:"MODE"`
	Layers     layersFlag   `help:"Layers of some nodes, first and last." placeholder:"NODE=0-20,…"`
	Efficiency shareFlag    `help:"Share of bandwidth and FLOPS that kernels reach, in a described cluster." default:"0.47"`
	Chunk      countFlag    `help:"Tokens of a prefill step." default:"1024"`
	At         []countFlag  `help:"Contexts to predict, besides the full one." default:"1000,8000,32000,100000" placeholder:"N"`
	Format     string       `help:"What is printed: text, json or csv." enum:"text,json,csv" default:"text"`
	Plot       string       `help:"Picture of decode speed over context to write; of a simulation, over nodes." type:"path" placeholder:"FILE.svg|.png"`

	planJoinFlags
	simulateFlags
	joined *plan.Cluster // the running one, once it was asked
}

// Help is shown below the flags' summary.
func (planCmd) Help() string {
	return `Examples:
  orrery plan --model research/configs/MiniMax-M2.json \
    --cluster research/m4-cluster.yaml --context 196608
  orrery plan --model research/configs/GLM-4.7.json --kv q8 --link tcp \
    --cluster research/m4-cluster.yaml --context 200000 --plot glm.svg
  orrery plan --model ~/models/Qwen3-0.6B --cluster mine.yaml \
    --context 32768 --layers a=0-20,b=21-27 --format json
  orrery plan --model ~/models/Qwen3-0.6B --join 192.168.1.10:7946 \
    --weights bf16 --context 32768
  orrery plan --model llama-1b-q4.gguf --cluster mine.yaml --context 131072
  orrery plan --simulate --model research/configs/MiniMax-M2.json \
    --cluster research/m4-scale.yaml --context 196608 --plot scaling.svg

The status is 1 when nothing fits. docs/placement.md explains the numbers, and
docs/scaling.md those of simulations.`
}

// layersFlag is layers of nodes by name, as a=0-20,b=21-40.
type layersFlag map[string]placement.Range

// UnmarshalText reads the list.
func (l *layersFlag) UnmarshalText(b []byte) error {
	*l = layersFlag{}
	for _, item := range strings.Split(string(b), ",") {
		name, span, named := strings.Cut(strings.TrimSpace(item), "=")
		from, to, ranged := strings.Cut(span, "-")
		if !ranged {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if !named || name == "" || err1 != nil || err2 != nil || first < 0 || last < first || last >= 1<<20 {
			return fmt.Errorf("%q is not NODE=FIRST-LAST, as a=0-20", item)
		}
		if _, twice := (*l)[name]; twice {
			return fmt.Errorf("node %q has layers twice", name)
		}
		(*l)[name] = placement.Range{First: first, End: last + 1}
	}
	return nil
}

// Validate looks at the flags together.
func (c *planCmd) Validate() error {
	if c.Cluster == "" && len(c.Join) == 0 {
		return errors.New("there is no cluster: give --cluster FILE or --join HOST:PORT")
	}
	if c.Link != "" && len(c.Join) > 0 {
		return fmt.Errorf("--link %s: the links of a running cluster are measured: leave it out", c.Link)
	}
	if c.Simulate && len(c.Join) > 0 {
		return errors.New("--simulate is of described clusters: give --cluster FILE instead of --join")
	}
	return cmp.Or(c.simulateFlags.check(), c.planJoinFlags.check())
}

// AfterApply looks at the files that the flags name.
func (c *planCmd) AfterApply() error {
	return cmp.Or(c.find(), c.TLS.load(), canDraw(c.Plot))
}

// Run plans.
func (c *planCmd) Run(ctx context.Context, log *slog.Logger) (err error) {
	if len(c.Join) > 0 {
		if c.joined, err = c.running(ctx, log); err != nil {
			return err
		}
	}
	if c.Simulate {
		return c.runSimulation(ctx)
	}
	report, err := c.make(ctx)
	if err != nil {
		return err
	}
	return c.write(os.Stdout, report)
}

// write prints the report and draws the picture. That nothing fits is an error, once it is printed.
func (c *planCmd) write(w io.Writer, report *plan.Report) error {
	if err := writePlan(w, c.Format, report); err != nil {
		return err
	}
	switch {
	case !report.Fits():
		return errSaidAlready
	case c.Plot != "":
		return c.draw(report)
	}
	return nil
}

// make reads the files and plans.
func (c *planCmd) make(ctx context.Context) (*plan.Report, error) {
	arch, cluster, options, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	return plan.Make(arch, cluster, options)
}

// read reads the files.
func (c *planCmd) read(ctx context.Context) (*plan.Arch, *plan.Cluster, plan.Options, error) {
	var none plan.Options
	arch, name, err := c.arch(ctx)
	if err != nil {
		return nil, nil, none, err
	}
	cluster, err := c.cluster(ctx)
	if err != nil {
		return nil, nil, none, err
	}
	weights := c.Weights
	if weights == 0 && arch.Stored != nil {
		weights = plan.WeightsStored
	}
	return arch, cluster, plan.Options{Name: name, Context: int(c.Context), Sequences: int(c.Sequences), Mode: placement.Mode(c.Mode),
		Weights: weights, KV: c.KV, Link: c.Link, Layers: c.Layers, Efficiency: float64(c.Efficiency), Chunk: int(c.Chunk), At: ints(c.At)}, nil
}

// cluster is the running one, or what the file describes.
func (c *planCmd) cluster(ctx context.Context) (*plan.Cluster, error) {
	if c.joined != nil {
		return c.joined, nil
	}
	b, err := readInput(ctx, c.Cluster)
	if err != nil {
		return nil, err
	}
	cluster, err := plan.ParseCluster(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Cluster, err)
	}
	return cluster, nil
}

// draw draws the picture.
func (c *planCmd) draw(report *plan.Report) error {
	if err := draw(c.Plot, report.Draw); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: decode speed over context\n", c.Plot)
	return nil
}
