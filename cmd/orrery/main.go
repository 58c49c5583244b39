// Command orrery is a node of a cluster that runs large language models, and the tools to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/orrery-ai/orrery"
)

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

	LogLevel slog.Level       `help:"What is logged: debug, info, warn or error." default:"warn"`
	Version  kong.VersionFlag `help:"Print the version."`
}

// Exit statuses.
const (
	statusFailed = 1
	statusUsage  = 2
)

func main() {
	var c cli
	parser := kong.Must(&c, kong.Name("orrery"), kong.Description("An actor-model runtime for large language models on a cluster of unlike machines."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}), kong.Vars{"version": orrery.Version})
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if err != nil {
		explainUsage(err)
		os.Exit(statusUsage)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	slog.SetDefault(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(log)
	if err := k.Run(); err != nil {
		explain(os.Stderr, err)
		os.Exit(statusFailed)
	}
}

// explainUsage prints what is wrong with the arguments, and where to read on.
func explainUsage(err error) {
	command := "orrery"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context.Command() != "" {
		command += " " + parse.Context.Command()
	}
	fmt.Fprintf(os.Stderr, "orrery: %v\ntry: %s --help\n", err, command)
}
