package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/trace"
)

// countFlag is a number of things, at least one; it is 0 where the flag is not given.
type countFlag int

// UnmarshalText reads the number.
func (c *countFlag) UnmarshalText(b []byte) error {
	n, err := strconv.ParseInt(string(b), 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && n > 0:
		return fmt.Errorf("%.20s is more than %d", b, math.MaxInt32)
	case err != nil || n < 1:
		return fmt.Errorf("%.20q is not a whole number of 1 or more", b)
	}
	*c = countFlag(n)
	return nil
}

// ints are counts as plain numbers.
func ints(counts []countFlag) []int {
	var all []int
	for _, n := range counts {
		all = append(all, int(n))
	}
	return all
}

// threadsFlag is a number of threads, at least one; it is 0 where the flag is not given.
type threadsFlag int

// UnmarshalText reads the number.
func (t *threadsFlag) UnmarshalText(b []byte) (err error) {
	*t, err = upTo[threadsFlag](orrery.MaxThreads, b, "a number of threads")
	return err
}

// nodesFlag is a number of node processes, at least one; it is 0 where the flag is not given.
type nodesFlag int

// UnmarshalText reads the number.
func (n *nodesFlag) UnmarshalText(b []byte) (err error) {
	*n, err = upTo[nodesFlag](len(nodeNames), b, "a number of node processes")
	return err
}

// blockFlag is the tokens of a KV block.
type blockFlag int

// UnmarshalText reads the number.
func (t *blockFlag) UnmarshalText(b []byte) (err error) {
	*t, err = upTo[blockFlag](orrery.MaxBlockTokens, b, "a number of tokens of a block")
	return err
}

// chunkFlag is the tokens that a node computes at a time.
type chunkFlag int

// UnmarshalText reads the number.
func (c *chunkFlag) UnmarshalText(b []byte) (err error) {
	*c, err = upTo[chunkFlag](orrery.MaxChunk, b, "a number of tokens to compute at a time")
	return err
}

// sequencesFlag is a number of sequences that are generated at the same time.
type sequencesFlag int

// UnmarshalText reads the number.
func (s *sequencesFlag) UnmarshalText(b []byte) (err error) {
	*s, err = upTo[sequencesFlag](orrery.MaxSequences, b, "a number of sequences")
	return err
}

// spansFlag is the spans that a node has room for.
type spansFlag int

// UnmarshalText reads the number.
func (s *spansFlag) UnmarshalText(b []byte) (err error) {
	*s, err = upTo[spansFlag](trace.MaxSpans, b, "a number of spans")
	return err
}

// upTo reads a whole number of 1 to most.
func upTo[T ~int](most int, b []byte, what string) (T, error) {
	n, err := strconv.ParseInt(string(b), 10, 32)
	if err != nil || n < 1 || n > int64(most) {
		return 0, fmt.Errorf("%.20q is not %s between 1 and %d", b, what, most)
	}
	return T(n), nil
}

// shareFlag is a part of a whole, of more than nothing.
type shareFlag float64

// UnmarshalText reads the number.
func (s *shareFlag) UnmarshalText(b []byte) error {
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(v > 0 && v <= 1) {
		return fmt.Errorf("%.20q is not a share above 0 and up to 1", b)
	}
	*s = shareFlag(v)
	return nil
}

// waitFlag is how long something may take, or is to take: more than no time.
type waitFlag time.Duration

// UnmarshalText reads the duration.
func (w *waitFlag) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil || d <= 0 {
		return fmt.Errorf("%.20q is not a time of more than 0, as 10m or 500ms", b)
	}
	*w = waitFlag(d)
	return nil
}

// depthFlag is a number of tokens, none included.
type depthFlag int

// UnmarshalText reads the number.
func (d *depthFlag) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 10, 31)
	if err != nil {
		return fmt.Errorf("%.20q is not a number of tokens", b)
	}
	*d = depthFlag(n)
	return nil
}

// sizeFlag is a number of bytes, as 8GiB or 500MB.
type sizeFlag int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// UnmarshalText reads the number and its unit.
func (s *sizeFlag) UnmarshalText(b []byte) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(string(b), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n*u.bytes >= 1) || n*u.bytes >= 1<<62 {
			return fmt.Errorf("%q is not a size, as 8GiB", b)
		}
		*s = sizeFlag(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size, as 8GiB", b)
}
