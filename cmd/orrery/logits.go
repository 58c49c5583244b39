package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/internal/npy"
)

type logitsCmd struct {
	modelFlags   `embed:"" group:"Model:"`
	clusterFlags `embed:"" group:"Where to compute:"`
	KV           kvFlag     `name:"kv" help:"Storage of keys and values: f32, which is exact, or f16, q8 or q4, as generate uses." default:"f32" group:"Model:"`
	IDsFile      string     `name:"ids-file" help:"File with token ids, decimal, separated by white space." required:"" type:"existingfile" placeholder:"FILE"`
	Out          string     `help:"NumPy file to write: float32 [tokens][vocabulary]." required:"" placeholder:"FILE.npy"`
	Decode       countFlag  `help:"Compute the last N tokens one at a time, as decode does." placeholder:"N"`
	SwitchAt     switchFlag `help:"Switch modes after so many tokens." placeholder:"TOKEN:MODE,…"`
}

// Help is shown below the flags' summary.
func (logitsCmd) Help() string {
	return `Examples:
  orrery logits --model ~/models/Qwen3-0.6B --ids-file ids.txt --out a.npy
  orrery logits --model ~/models/Qwen3-0.6B --ids-file ids.txt --out a.npy \
    --nodes 3 --mode pooled --decode 16

Compare with another implementation:
  python3 -c 'import numpy as n; a, b = map(n.load, (
    "a.npy", "theirs.npy")); print(abs(a - b).max() / b.std())'`
}

// Validate looks at the flags together.
func (c *logitsCmd) Validate() error {
	if orrery.Mode(c.Mode) == orrery.Auto {
		return errors.New("--mode auto is for writing answers: logits are computed in pipeline, pooled or ring")
	}
	return cmp.Or(c.check(), c.checkConnections())
}

// AfterApply looks at the files that the flags name.
func (c *logitsCmd) AfterApply() error {
	return cmp.Or(c.Model.find(), c.TLS.load(), canWrite("--out", c.Out))
}

// Run computes the logits.
func (c *logitsCmd) Run(ctx context.Context, log *slog.Logger) error {
	ids, err := readIDs(ctx, c.IDsFile)
	if err != nil {
		return err
	}
	if int(c.Decode) > len(ids) {
		return wrongUse{fmt.Errorf("--decode %d: there is no decoding the last %d of %d tokens, as %s has", c.Decode, c.Decode, len(ids), c.IDsFile)}
	}
	if n := len(c.SwitchAt); n > 0 && c.SwitchAt[n-1].Token >= len(ids) {
		return wrongUse{fmt.Errorf("--switch-at %d:%v: there are %d tokens, in %s", c.SwitchAt[n-1].Token, c.SwitchAt[n-1].Mode, len(ids), c.IDsFile)}
	}
	cluster, end, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer end()
	m, err := cluster.Load(ctx, c.Model.ref, c.options(c.KV, len(ids)))
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(ids, func(id int32) bool { return int(id) >= m.Vocab() }); i >= 0 {
		return fmt.Errorf("%s: word %d is %d, which is outside of the model's vocabulary of %d", c.IDsFile, i+1, ids[i], m.Vocab())
	}
	if err := writeFile("--out", c.Out, func(f *os.File) error {
		w, err := npy.NewWriter(f, len(ids), m.Vocab())
		if err == nil {
			_, err = m.Logits(ctx, ids, orrery.LogitsOptions{Decode: int(c.Decode), SwitchAt: c.SwitchAt, Progress: prefillProgress("logits")}, w.WriteRows)
		}
		return err
	}); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: float32 [%d][%d]\n", c.Out, len(ids), m.Vocab())
	return nil
}

// readIDs reads token ids. What they may be is for the model to say.
func readIDs(ctx context.Context, path string) ([]int32, error) {
	b, err := readInput(ctx, path)
	if err != nil {
		return nil, err
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Split(bufio.ScanWords)
	var ids []int32
	for s.Scan() {
		id, err := strconv.ParseInt(s.Text(), 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("%s: word %d is %.20q, not a token id", path, len(ids)+1, s.Text())
		}
		ids = append(ids, int32(id))
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s: word %d is longer than any token id", path, len(ids)+1)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%s: there are no token ids in it", path)
	}
	return ids, nil
}
