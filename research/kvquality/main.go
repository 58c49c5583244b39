// Command kvquality measures what storing keys and values in fewer bits costs: how often the embedded model still answers exactly, and how far
// its logits move.
package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/recall"
)

type command struct {
	Tokens  []int  `help:"Tokens of the documents (default: ${default})." default:"8192" placeholder:"N,…"`
	Docs    int    `help:"Documents of each size." default:"4" placeholder:"N"`
	Codes   int    `help:"Codes in each, all of which are asked for." default:"40" placeholder:"N"`
	Seed    uint64 `help:"Of the first document." default:"1"`
	Ways    []int  `help:"Which ways to store, of those listed below; the first is what the others are held to (default: ${default})." default:"0,1,2,3,4,5" placeholder:"N,…"`
	Device  string `help:"cpu, cuda, metal or emulator; GPUs have no f32." default:"cpu"`
	Threads int    `help:"Threads of a CPU (default: all processors)." placeholder:"N"`
}

// Help is shown below the flags' summary.
func (command) Help() string {
	return `Every question stands behind the document and the questions and right answers before it. An answer is exact if each of its tokens is the
likeliest one. Errors of logits are of these tokens, against the first way, in spreads (standard deviations of the logits).

Ways: 0 f32, 1 f16, 2 q8, 3 q8 with the last block in f16, 4 q4, 5 q4 with the last block in f16.

Example:
  go run ./research/kvquality --tokens 8192,32768 --docs 4
  go run ./research/kvquality --tokens 200000 --docs 1 --device cuda --ways 1,2,3,4,5`
}

// ways are the ways to store that can be compared.
var ways = []way{
	{name: "f32", format: attention.F32},
	{name: "f16", format: attention.F16},
	{name: "q8", format: attention.Q8},
	{name: "q8, last block f16", format: attention.Q8, recent: true},
	{name: "q4", format: attention.Q4},
	{name: "q4, last block f16", format: attention.Q4, recent: true},
}

func main() {
	var c command
	kong.Parse(&c, kong.Name("kvquality"), kong.Description("What quantized keys and values cost."))
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "kvquality:", err)
		os.Exit(1)
	}
}

func (c *command) run() error {
	m, err := recall.Open()
	if err != nil {
		return err
	}
	if c.Threads == 0 {
		c.Threads = runtime.GOMAXPROCS(0)
	}
	for _, w := range c.Ways {
		if w < 0 || w >= len(ways) {
			return fmt.Errorf("--ways: %d is not in 0..%d", w, len(ways)-1)
		}
	}
	dev, err := open(c.Device, c.Threads)
	if err != nil {
		return err
	}
	defer dev.Close()
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"tokens", "stored as", "exact", "of", "error, rms", "error, most"})
	for _, tokens := range c.Tokens {
		results := make([]result, len(c.Ways))
		for i := range c.Docs {
			task, err := newTask(m, tokens, c.Codes, c.Seed+uint64(i))
			if err != nil {
				return err
			}
			var reference []float32
			for w := range results {
				way := ways[c.Ways[w]]
				began := time.Now()
				logits, err := task.read(dev, m, way)
				if err != nil {
					return err
				}
				if w == 0 {
					reference = logits
				}
				results[w].add(task, logits, reference)
				fmt.Fprintf(os.Stderr, "%d tokens, document %d, %s: %d of %d so far, %v\n", tokens, i+1, way.name, results[w].exact, results[w].asked, time.Since(began).Round(time.Second/10))
			}
		}
		for w, r := range results {
			t.AppendRow(table.Row{tokens, ways[c.Ways[w]].name, fmt.Sprintf("%.1f%%", 100*float64(r.exact)/float64(r.asked)), r.asked, fmt.Sprintf("%.1e", r.rms()), fmt.Sprintf("%.1e", r.most)})
		}
	}
	fmt.Println(t.Render())
	return nil
}
