package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

// maxInput bounds what is read whole, in bytes: prompts, token ids, descriptions of clusters and models. It is many times the
// longest text that a model reads.
const maxInput = 64 << 20

// maxPrompts bounds the prompts of a file.
const maxPrompts = 1 << 16

// canRead says what would keep a file from being read, as far as that shows without reading it. No path is none.
func canRead(flag, path string) error {
	if path == "" || path == "-" {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", flag, err)
	case info.IsDir():
		return fmt.Errorf("%s %s is a directory: name a file", flag, path)
	}
	return nil
}

// readInput reads a file, or standard input if path is "-", without taking more memory than maxInput for one that never ends. Where
// nothing comes, as from a pipe that nobody writes to, it ends with ctx.
func readInput(ctx context.Context, path string) ([]byte, error) {
	type input struct {
		b   []byte
		err error
	}
	came := make(chan input, 1)
	go func() {
		b, err := readWhole(path)
		came <- input{b, err}
	}()
	select {
	case i := <-came:
		return i.b, i.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the program is about to end, and whoever still reads with it
	}
}

func readWhole(path string) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
		defer f.Close()
	}
	b, err := io.ReadAll(io.LimitReader(f, maxInput+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxInput:
		return nil, fmt.Errorf("%s has over %d MiB: cut it into parts", inputName(path), maxInput>>20)
	}
	return b, nil
}

// inputName is what to call what is read, for people.
func inputName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}
