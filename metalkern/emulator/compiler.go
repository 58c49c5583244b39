package emulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"

	"github.com/orrery-ai/orrery/internal/compiled"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

//go:embed runtime/emulator.h
var header string

//go:embed runtime/emulator.cc
var source string

// compileTimeout bounds one run of the compiler.
const compileTimeout = 5 * time.Minute

// compiler makes shared libraries of C++ texts.
type compiler struct {
	path    string
	version string // what --version prints: part of the key of what is cached
	cache   string // directory
}

// findCompiler looks for $CXX, c++, clang++ and g++, in this order.
func findCompiler() (*compiler, error) {
	names := []string{"c++", "clang++", "g++"}
	if cxx := os.Getenv("CXX"); cxx != "" {
		names = []string{cxx}
	}
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), compileTimeout)
		defer cancel()
		version, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			continue
		}
		return &compiler{path: path, version: string(version), cache: compiled.Dir("emulator")}, nil
	}
	return nil, &gpu.UnavailableError{Kind: "emulator", Reason: "it needs a C++ compiler; none of " + strings.Join(names, ", ") + " is in PATH"}
}

// flags of every compilation. Kernels must not depend on how far a compiler optimises; -O1 compiles fast.
func flags() []string {
	f := []string{"-std=c++17", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off", "-Wall", "-Wno-unused", "-Wno-unknown-pragmas", "-pthread"}
	if runtime.GOARCH == "amd64" {
		f = append(f, "-march=native") // halves without it are converted by calls
	}
	if runtime.GOOS == "darwin" {
		f = append(f, "-undefined", "dynamic_lookup")
	}
	return f
}

// library compiles a text, unless it has been before, and returns the path of the shared library.
func (c *compiler) library(name, text string) (string, error) {
	key := sha256.New()
	for _, part := range []string{c.path, c.version, strings.Join(flags(), " "), cpuid.CPU.BrandName, strings.Join(cpuid.CPU.FeatureSet(), " "), header, text} {
		fmt.Fprintf(key, "%d\n%s", len(part), part)
	}
	out := filepath.Join(c.cache, hex.EncodeToString(key.Sum(nil)[:16])+".so")
	if _, err := os.Stat(out); err == nil {
		compiled.Used(out)
		return out, nil
	}
	dir, err := os.MkdirTemp("", "orrery-emulator-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if err := os.MkdirAll(c.cache, 0o755); err != nil {
		return "", fmt.Errorf("emulator: %w", err)
	}
	input := filepath.Join(dir, "unit.cc")
	if err := os.WriteFile(input, []byte(text), 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "emulator.h"), []byte(header), 0o644); err != nil {
		return "", err
	}
	// Another process may be making the same file: each makes its own, and the last to rename wins.
	temp, err := os.CreateTemp(c.cache, "new-*.so")
	if err != nil {
		return "", err
	}
	temp.Close()
	defer os.Remove(temp.Name())
	ctx, cancel := context.WithTimeout(context.Background(), compileTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, append(flags(), "-I", dir, "-o", temp.Name(), input)...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("emulator: %s took more than %v for %s", c.path, compileTimeout, name)
		}
		return "", &gpu.CompileError{Unit: name, Compiler: c.path, Log: log.String()}
	}
	compiled.Trim(c.cache)
	return out, os.Rename(temp.Name(), out)
}
