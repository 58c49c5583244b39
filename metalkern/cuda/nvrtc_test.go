//go:build linux

package cuda

import (
	"errors"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// compiler is NVRTC, or the test is skipped.
func compiler(t *testing.T) *nvrtc {
	n, err := findNVRTC()
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAllKernelsCompileWithoutAGPU(t *testing.T) {
	n := compiler(t)
	compiles := func(u dialect.Unit, arch string) {
		t.Run(u.Name+" "+arch, func(t *testing.T) {
			t.Parallel()
			code, err := n.compile(u.Name, dialect.Source(dialect.CUDA, u), arch)
			if err != nil {
				t.Fatal(err)
			}
			if len(code) == 0 {
				t.Error("no code")
			}
		})
	}
	for _, u := range append(append(kernels.Units(), kernels.StreamUnits()...), gated.CoherentUnit()) {
		compiles(u, "sm_90")
	}
	if n.version < leastHopper {
		t.Logf("%s is too old for sm_90a", n.path)
		return
	}
	for _, u := range kernels.HopperUnits() {
		compiles(u, "sm_90a")
	}
}

func TestACompilersMessagesNameTheKernelsLine(t *testing.T) {
	n := compiler(t)
	_, err := n.compile("wrong", dialect.Source(dialect.CUDA, dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.metal", Text: "\n\nFN void f() { nonsense; }"}}}), "sm_90")
	failed := new(gpu.CompileError)
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if want := "wrong.metal(3)"; !strings.Contains(failed.Log, want) {
		t.Errorf("the log does not name %s:\n%s", want, failed.Log)
	}
}
