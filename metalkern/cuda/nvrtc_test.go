//go:build linux

package cuda

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
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

// compiles is the variable by which this program is told to compile what it reads, for the architecture in it, in place of running tests.
const compiles = "ORRERY_TEST_COMPILES"

func TestMain(m *testing.M) {
	if arch := os.Getenv(compiles); arch != "" {
		if err := compileInput(arch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func compileInput(arch string) error {
	n, err := findNVRTC()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	code, err := n.compile("kernels", string(text), arch)
	if err == nil && len(code) == 0 {
		err = errors.New("no code")
	}
	return err
}

// together is how many kernels are compiled as one text: files have up to 80, which would take one core for a minute while the others have nothing to do.
const together = 8

// TestAllKernelsCompileWithoutAGPU compiles in processes, as many at a time as tests may run: in one process NVRTC compiles little at the same time.
func TestAllKernelsCompileWithoutAGPU(t *testing.T) {
	n := compiler(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	compile := func(u dialect.Unit, arch string) {
		pieces := slices.Collect(slices.Chunk(u.Instances, together))
		if len(pieces) == 0 {
			pieces = [][]string{nil}
		}
		for i, piece := range pieces {
			u.Instances = piece
			text := dialect.Source(dialect.CUDA, u)
			t.Run(fmt.Sprintf("%s %s, %d of %d", u.Name, arch, i+1, len(pieces)), func(t *testing.T) {
				t.Parallel()
				c := exec.CommandContext(t.Context(), self)
				c.Env = append(os.Environ(), compiles+"="+arch)
				c.Stdin = strings.NewReader(text)
				if out, err := c.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
	for _, u := range append(append(kernels.Units(), kernels.StreamUnits()...), gated.CoherentUnit()) {
		compile(u, "sm_90")
	}
	if n.version < leastHopper {
		t.Logf("%s is too old for sm_90a", n.path)
		return
	}
	for _, u := range kernels.HopperUnits() {
		compile(u, "sm_90a")
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
