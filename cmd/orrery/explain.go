package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/cluster"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport/rdma"
)

// errSaidAlready ends the program with status 1 after a report that has said why.
var errSaidAlready = errors.New("the report says what is wrong")

// explain prints an error, and what to do about it where that is known.
func explain(w io.Writer, err error) {
	clearBar()
	if errors.Is(err, errSaidAlready) {
		return
	}
	var refusal *placement.Refusal
	if errors.As(err, &refusal) {
		fmt.Fprintf(w, "%s\n\n", strings.TrimRight(refusal.Table(), "\n"))
	}
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "orrery: "), ": orrery: ", ": ")
	fmt.Fprintf(w, "orrery: %s\n", text)
	if hint := hint(err); hint != "" {
		fmt.Fprintf(w, "try: %s\n", hint)
	}
}

// hint is what to try after an error, in terms of the flags.
func hint(err error) string {
	var full *orrery.ContextError
	var busy *orrery.AdmissionError
	var join *cluster.JoinError
	var exposed *orrery.ExposedError
	var adapter *rdma.NoDeviceError
	var lost *orrery.NodeLostError
	switch {
	case errors.As(err, &exposed):
		return `make certificates, the first once for the cluster and the second for each machine:
  orrery ca init --dir ca
  orrery ca issue NAME --dir ca --out NAME.tls
and give --tls NAME.tls; or --insecure, where you trust everybody who can reach the address`
	case errors.As(err, &full):
		return fmt.Sprintf("--context %d, or more", full.Context-full.Room+full.Tokens+1)
	case errors.As(err, &busy) && busy.Cause == nil && busy.FreeTokens > 0:
		return fmt.Sprintf("--context %d, or again when another sequence has ended", busy.FreeTokens)
	case errors.As(err, &busy):
		return "again when another sequence has ended, or a node has its memory back"
	case errors.As(err, &lost):
		return "again: the nodes that are left take over what they have memory for"
	case errors.As(err, &adapter):
		return "--rdma off, or the name of an active adapter in the list that orrery rdma prints"
	case errors.Is(err, cluster.ErrCluster):
		return "--cluster, in plan --cluster-name, with the name that the nodes have"
	case errors.Is(err, cluster.ErrKey):
		return "--tls, with a certificate from the same authority as those of the nodes (orrery ca issue); without it, if they have none"
	case errors.Is(err, cluster.ErrNameTaken):
		return "another --name, or again when the node of that name has left"
	case strings.Contains(err.Error(), syscall.EADDRINUSE.Error()): // memberlist keeps the text alone
		return "another port in --bind or --listen, or again when the process that has this one has ended"
	case errors.As(err, &join) && !errors.Is(err, context.Canceled):
		return "--join, with an address that orrery node prints where it says \"gossip on\""
	}
	return ""
}
