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
	"github.com/orrery-ai/orrery/placement"
)

type cli struct {
	Node     nodeCmd     `cmd:"" help:"Run one node of a cluster."`
	Generate generateCmd `cmd:"" help:"Generate text, and stream it."`
	Logits   logitsCmd   `cmd:"" help:"Compute the logits of given tokens, as a NumPy file."`
	Demo     demoCmd     `cmd:"" help:"Answer from a long document in every mode, switching live, on nodes of its own."`

	LogLevel slog.Level       `help:"What is logged: debug, info, warn or error." default:"warn"`
	Version  kong.VersionFlag `help:"Print the version."`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("orrery"), kong.Description("An actor-model runtime for large language models on a cluster of unlike machines."),
		kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}), kong.Vars{"version": orrery.Version})
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	slog.SetDefault(log)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(log)
	if err := k.Run(); err != nil {
		stop()
		explain(err)
		os.Exit(1)
	}
}

// explain prints an error, and what to do about it where that is known.
func explain(err error) {
	if errors.Is(err, errSaidAlready) {
		return
	}
	var refusal *placement.Refusal
	if errors.As(err, &refusal) {
		fmt.Fprintf(os.Stderr, "orrery: %v\n\n%s\n%s\n", err, strings.TrimRight(refusal.Table(), "\n"), refusal.Advice())
		return
	}
	fmt.Fprintf(os.Stderr, "orrery: %s\n", strings.TrimPrefix(err.Error(), "orrery: "))
}

// errSaidAlready ends the program with status 1 after a report that has said why.
var errSaidAlready = errors.New("the report says what is wrong")
