package lint

import (
	"errors"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

func check(t *testing.T, u dialect.Unit) error {
	err := Check(u)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	return err
}

func TestKernelsKeepAddressSpacesApart(t *testing.T) {
	for _, u := range append(kernels.Units(), gated.Unit()) {
		t.Run(u.Name, func(t *testing.T) {
			if err := check(t, u); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMixedAddressSpacesAreFound(t *testing.T) {
	for _, text := range []string{
		"FN float f(device const float* p) { threadgroup const float* q = p; return *q; }",
		"FN float g(thread const float* p) { return *p; }\nFN float f(device const float* p) { return g(p); }",
		"FN void f(device const float* p) { *p = 1; }",
		"KERNEL(f, 32, 1)(BUF(0, float, x) GRID_ARGS) { SHARED(float, s, 4); device float* p = s; x[0] = *p; }",
	} {
		err := check(t, dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.metal", Text: text}}})
		failed := new(gpu.CompileError)
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if !strings.Contains(failed.Log, "wrong.metal:") {
			t.Errorf("the log does not name the file: %s", failed.Log)
		}
	}
}
