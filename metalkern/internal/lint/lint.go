// Package lint checks kernels where the compilers that they are for are not. In place of Metal's, clang compiles the text that Metal would get as C++
// for OpenCL, whose address spaces are as strict; in place of NVRTC, it compiles what NVRTC would get as CUDA, with the operands of assembly.
package lint

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

//go:embed metal.h
var header string

// timeout bounds one run of clang.
const timeout = 2 * time.Minute

// names under which clang is looked for; 14 is the first that knows C++ for OpenCL 2021.
var names = []string{"clang++-20", "clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++"}

// language is how clang is told what it compiles.
type language struct {
	name string // for messages
	args []string
}

var openCL = language{"C++ for OpenCL", []string{"-x", "clcpp", "-cl-std=clc++2021", "-cl-no-stdinc", "-target", "spir64"}}

// Check compiles a unit as Metal gets it. Without a clang that can, the error is a *[gpu.UnavailableError]; if the unit is wrong, a *[gpu.CompileError].
func Check(u dialect.Unit) error {
	source := dialect.Source(dialect.Metal, u)
	source = strings.NewReplacer("#include <metal_stdlib>", "", "#include <metal_simdgroup_matrix>", "").Replace(source)
	return openCL.check(u.Name, header, source)
}

// check compiles a text behind a header with the first clang that compiles the header alone.
func (l language) check(unit, header, source string) error {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil || l.run(path, unit, header) != nil {
			continue // not there, Apple's, or an old one
		}
		return l.run(path, unit, header+source)
	}
	return &gpu.UnavailableError{Kind: "clang", Reason: "none of " + strings.Join(names, ", ") + " in PATH compiles " + l.name}
}

func (l language) run(path, unit, source string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(l.args), "-fsyntax-only", "-")...)
	cmd.Stdin = strings.NewReader(source)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Run(); err != nil {
		if log.Len() == 0 {
			return fmt.Errorf("lint: %s: %w", path, err)
		}
		return &gpu.CompileError{Unit: unit, Compiler: path, Log: log.String()}
	}
	return nil
}
