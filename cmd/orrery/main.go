// Command orrery is a node of a cluster that runs large language models, and the tools to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/plan"
)

// cli is the whole command line.
type cli struct {
	Node     nodeCmd     `cmd:"" help:"Run one node of a cluster."`
	Nodes    nodesCmd    `cmd:"" help:"Show the nodes of a cluster, what they measured of themselves, and the ways between them."`
	Generate generateCmd `cmd:"" help:"Generate text, and stream it."`
	Logits   logitsCmd   `cmd:"" help:"Compute the logits of given tokens, as a NumPy file."`
	Trace    traceCmd    `cmd:"" help:"Record what every node does during a generation, as a timeline and in tables."`
	Plan     planCmd     `cmd:"" help:"Say what fits on a described cluster and how fast it would be, without weights."`
	CA       caCmd       `cmd:"" name:"ca" help:"Make and show the certificates by which nodes know each other."`
	RDMA     rdmaCmd     `cmd:"" name:"rdma" help:"List the RDMA adapters of this machine."`
	Devices  devicesCmd  `cmd:"" help:"List what can compute here, and how fast it is."`
	Bench    benchCmd    `cmd:"" help:"Measure memory, speed at depth, what goes between processes, and the GPU kernels."`
	Demo     demoCmd     `cmd:"" help:"Answer from a long document in every mode, switching live, on nodes of its own."`

	LogLevel levelFlag        `help:"What is logged: debug, info, warn or error." default:"warn"`
	Version  kong.VersionFlag `help:"Print the version."`
}

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
)

// options are how the command line is read and explained.
func (*cli) options() []kong.Option {
	return []kong.Option{kong.Name("orrery"), kong.Vars{"version": orrery.Version}, kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Description(`An actor-model runtime for large language models on a cluster of unlike machines. "orrery demo" shows what it does.
The exit status is 1 after a failure, 2 for wrong arguments, and 128 plus the signal's number after an interruption.`)}
}

func main() {
	var c cli
	parser := kong.Must(&c, c.options()...)
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	var parse *kong.ParseError
	if errors.As(err, &parse) {
		k = parse.Context
	}
	if empty := checkEmpty(args); empty != nil {
		err = empty // which the parser may have said in other words
	}
	if err != nil {
		explainUsage(k, plainer(args, err))
		os.Exit(statusUsage)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(c.LogLevel)}))
	slog.SetDefault(log)
	ctx := untilInterrupted()
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(log)
	if err := k.Run(); err != nil {
		status := statusOf(err)
		var by interruption
		if errors.As(context.Cause(ctx), &by) {
			log.Debug("what the interruption ended", "err", err) // a wait or a process, in its own words
			err, status = by, by.status()
		}
		explain(os.Stderr, err)
		os.Exit(status)
	}
}

// wrongUse is an error of arguments that only what they name has shown: a file's contents.
type wrongUse struct{ error }

// Unwrap is what is wrong.
func (w wrongUse) Unwrap() error { return w.error }

// statusOf is the exit status of a command that ended so. Wrong arguments have theirs also where only a host's address, a model or a file's contents
// have shown that they are.
func statusOf(err error) int {
	var exposed *orrery.ExposedError
	var loaded *orrery.OptionsError
	var planned *plan.OptionsError
	if errors.As(err, &exposed) || errors.As(err, &loaded) || errors.As(err, &planned) || errors.As(err, new(wrongUse)) {
		return statusUsage
	}
	return statusFailed
}

// interruption is the end of a command that was asked to end.
type interruption struct{ by syscall.Signal }

func (interruption) Error() string { return "interrupted" }

// status is what shells have for the end by a signal.
func (i interruption) status() int { return 128 + int(i.by) }

// untilInterrupted is done when the command is asked to end. A second signal ends the program at once.
func untilInterrupted() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals)
		cancel(interruption{s.(syscall.Signal)})
	}()
	return ctx
}

// checkEmpty reports a value that is empty, as of a variable that a script forgot to set. What is left out has a
// default; what is empty would quietly have it too, and a node that is to join would be a cluster of its own.
func checkEmpty(args []string) error {
	for i, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		switch {
		case strings.HasPrefix(arg, "-") && assigned && value == "":
		case arg == "" && i > 0 && strings.HasPrefix(args[i-1], "-"):
			name = args[i-1]
		case arg == "":
			name = "an argument"
		default:
			continue
		}
		return fmt.Errorf("%s is empty: give it a value, or leave it out", name)
	}
	return nil
}

// plainer is the error in words of ours where the parser's are of its own tokens: of a value that begins with a dash, it
// says what it takes the dash for.
func plainer(args []string, err error) error {
	for i := 1; i < len(args); i++ {
		if flag := args[i-1]; strings.HasPrefix(flag, "--") && strings.HasPrefix(err.Error(), flag+": expected ") && strings.HasPrefix(args[i], "-") {
			return fmt.Errorf("%s: %q begins as a flag does: give a value, or %s=%s", flag, args[i], flag, args[i])
		}
	}
	return err
}

// explainUsage prints what is wrong with the arguments, and where to read on. What was parsed may be nil.
func explainUsage(k *kong.Context, err error) {
	command := "orrery"
	if k != nil {
		name, _, _ := strings.Cut(k.Command(), "<") // the arguments
		command = strings.TrimSpace(command + " " + name)
	}
	fmt.Fprintf(os.Stderr, "orrery: %v\ntry: %s --help\n", err, command)
}
