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
	Out     string `help:"Directory to write to, which is made if it is not there; with --gguf the file." required:"" type:"path" placeholder:"DIR|FILE"`
	Weights string `help:"Storage of the weights: bf16, f16 or f32; q8_0, q4_0, q4_k, q6_k or q4_k_m, with --gguf; mlx8 or mlx4, without it." enum:"bf16,f16,f32,q8_0,q4_0,q4_k,q6_k,q4_k_m,mlx8,mlx4" default:"bf16"`
	GGUF    bool   `name:"gguf" help:"Write a GGUF file instead of a directory."`
	Context int    `help:"Positions that the model is said to be made for, instead of what the configuration says." placeholder:"N"`
	Seed    uint64 `help:"Of the weights." default:"1"`
}

// Help is shown below the flags' summary.
func (command) Help() string {
	return `Examples:
  go run ./research/makemodel --config research/configs/Llama-3.2-1B.json \
    --context 200000 --out /tmp/llama-1b
  go run ./research/makemodel --config research/configs/Llama-3.2-1B.json \
    --gguf --weights q8_0 --out /tmp/llama-1b-q8_0.gguf`
}

func main() {
	var c command
	k := kong.Parse(&c, kong.Name("makemodel"), kong.Description("Write a model of a given shape with random weights, for measuring."))
	k.FatalIfErrorf(c.run())
}

// mixed is llama.cpp's mixture of Q4_K and Q6_K.
const mixed = "q4_k_m"

// formats is what --weights may be otherwise.
var formats = map[string]device.Format{
	"bf16": device.BF16, "f16": device.F16, "f32": device.F32, "q8_0": device.Q8_0, "q4_0": device.Q4_0, "q4_k": device.Q4_K, "q6_k": device.Q6_K,
	"mlx8": device.MLX8, "mlx4": device.MLX4,
}

func (c *command) run() error {
	config, err := os.ReadFile(c.Config)
	if err != nil {
		return err
	}
	if config, err = random.Extend(config, c.Context); err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	began, size := time.Now(), int64(0)
	progress := func(_, total int64) { size = total }
	switch {
	case c.Weights == mixed && !c.GGUF:
		err = fmt.Errorf("--weights %s needs --gguf", mixed)
	case c.Weights == mixed:
		err = random.WriteQ4KM(c.Out, config, c.Seed, progress)
	case c.GGUF:
		err = random.WriteGGUF(c.Out, config, formats[c.Weights], c.Seed, progress)
	default:
		err = random.Write(c.Out, config, formats[c.Weights], c.Seed, progress)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s of weights in %v\n", c.Out, placement.FormatBytes(size), time.Since(began).Round(time.Millisecond))
	return nil
}
