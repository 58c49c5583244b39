package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/orrery-ai/orrery/plan"
)

// simulateFlags are those of orrery plan that only its simulation has.
type simulateFlags struct {
	Simulate bool        `help:"Simulate decode and prefill on growing numbers of the described nodes, and say where they stop scaling." group:"Simulation:"`
	Counts   []countFlag `help:"Numbers of nodes, up to 1024: the file's, in their order, over and over (default: 1 to 1024, about doubling)." group:"Simulation:" placeholder:"N"`
	Contexts []countFlag `help:"Contexts to simulate (default: the full one)." group:"Simulation:" placeholder:"N"`
	Steps    countFlag   `help:"Decode steps to simulate for each (default: 100)." group:"Simulation:" placeholder:"N"`
	Seed     uint64      `help:"Decides all that is drawn." group:"Simulation:" placeholder:"N"`
	Calm     bool        `help:"Leave out jitter and noise that the file describes." group:"Simulation:"`
}

// check reports flags that would do nothing.
func (f *simulateFlags) check() error {
	if f.Simulate {
		return nil
	}
	return useless("is of simulations: give --simulate too", flag{"counts", f.Counts != nil}, flag{"contexts", f.Contexts != nil},
		flag{"steps", f.Steps != 0}, flag{"seed", f.Seed != 0}, flag{"calm", f.Calm})
}

// runSimulation simulates, prints and draws.
func (c *planCmd) runSimulation(ctx context.Context) error {
	s, err := c.simulate(ctx)
	if err != nil {
		return err
	}
	return c.writeSimulation(os.Stdout, s)
}

// simulate reads the files and simulates.
func (c *planCmd) simulate(ctx context.Context) (*plan.Scaling, error) {
	arch, cluster, options, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	progress, done := simulationProgress()
	defer done()
	return plan.Scale(ctx, arch, cluster, plan.ScalingOptions{Options: options, Counts: ints(c.Counts), Contexts: ints(c.Contexts), Steps: int(c.Steps),
		Seed: c.Seed, Calm: c.Calm, Progress: progress})
}

// writeSimulation prints a simulation and draws its picture. That nothing fits is an error, once it is printed.
func (c *planCmd) writeSimulation(w io.Writer, s *plan.Scaling) error {
	if err := writeScaling(w, c.Format, s); err != nil {
		return err
	}
	switch {
	case !s.Fits():
		return errSaidAlready
	case c.Plot == "":
		return nil
	}
	if err := draw(c.Plot, s.Draw); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: decode speed over nodes\n", c.Plot)
	return nil
}

// simulationProgress shows how much of a simulation is done, if it takes long, on a terminal; elsewhere it says
// nothing. The second function ends it.
func simulationProgress() (func(done, total int), func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	const long = time.Second
	began := time.Now()
	var bar *progressbar.ProgressBar
	show := func(done, total int) {
		if bar == nil {
			if time.Since(began) < long {
				return
			}
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("simulating"),
				progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
		}
		_ = bar.Set(done) // only drawing can fail
	}
	return show, func() {
		if bar != nil {
			_ = bar.Finish()
		}
	}
}
