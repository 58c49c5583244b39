// Command makemodel writes a model of a given shape with random weights, for measuring.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/random"
	"github.com/orrery-ai/orrery/placement"
)

type command struct {
	Config  string `help:"config.json of the shape." required:"" type:"existingfile" placeholder:"FILE"`
	Out     string `help:"Directory to write to; it is made if it is not there." required:"" type:"path" placeholder:"DIR"`
	DType   string `name:"dtype" help:"Type of the weights: bf16, f16 or f32." enum:"bf16,f16,f32" default:"bf16"`
	Context int    `help:"Positions that the model is said to be made for, instead of what the configuration says." placeholder:"N"`
	Seed    uint64 `help:"Of the weights." default:"1"`
}

// Help is shown below the flags' summary.
func (command) Help() string {
	return `Example:
  go run ./research/makemodel --config research/configs/Llama-3.2-1B.json \
    --context 200000 --out /tmp/llama-1b`
}

func main() {
	var c command
	k := kong.Parse(&c, kong.Name("makemodel"), kong.Description("Write a model of a given shape with random weights, for measuring."))
	k.FatalIfErrorf(c.run())
}

func (c *command) run() error {
	config, err := os.ReadFile(c.Config)
	if err != nil {
		return err
	}
	if config, err = random.Extend(config, c.Context); err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	format := map[string]device.Format{"bf16": device.BF16, "f16": device.F16, "f32": device.F32}[c.DType]
	began, size := time.Now(), int64(0)
	if err := random.Write(c.Out, config, format, c.Seed, func(_, total int64) { size = total }); err != nil {
		return err
	}
	fmt.Printf("%s: %s of weights in %v\n", c.Out, placement.FormatBytes(size), time.Since(began).Round(time.Millisecond))
	return nil
}
