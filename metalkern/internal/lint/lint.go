// Package lint checks the address spaces of kernels where there is no Metal compiler: clang compiles the text that Metal would get as C++
// for OpenCL, whose address spaces are as strict.
package lint

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os/exec"
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

// Check compiles a unit. Without a clang that can, the error is a *[gpu.UnavailableError]; if the unit is wrong, a *[gpu.CompileError].
func Check(u dialect.Unit) error {
	source := dialect.Source(dialect.Metal, u)
	source = strings.NewReplacer("#include <metal_stdlib>", "", "#include <metal_simdgroup_matrix>", "").Replace(source)
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if name == "clang++" && run(path, "") != nil {
			continue // Apple's, or an old one
		}
		return run(path, source)
	}
	return &gpu.UnavailableError{Kind: "clang", Reason: "none of " + strings.Join(names, ", ") + " in PATH compiles C++ for OpenCL"}
}

func run(path, source string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-x", "clcpp", "-cl-std=clc++2021", "-cl-no-stdinc", "-target", "spir64", "-fsyntax-only", "-")
	cmd.Stdin = strings.NewReader(header + source)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Run(); err != nil {
		if log.Len() == 0 {
			return fmt.Errorf("lint: %s: %w", path, err)
		}
		return &gpu.CompileError{Unit: "the kernels for Metal", Compiler: path, Log: log.String()}
	}
	return nil
}
