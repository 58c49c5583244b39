package lint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

func checkCUDA(t *testing.T, u dialect.Unit, capability int) error {
	err := CheckCUDA(u, capability)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	return err
}

func TestKernelsAreCUDA(t *testing.T) {
	shared := append(kernels.Units(), gated.Unit())
	for capability, units := range map[int][]dialect.Unit{80: shared, 90: slices.Concat(shared, kernels.StreamUnits(), kernels.HopperUnits())} {
		for _, u := range units {
			t.Run(fmt.Sprint(u.Name, " for ", capability), func(t *testing.T) {
				if err := checkCUDA(t, u, capability); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestWrongCUDAIsFound(t *testing.T) {
	const kernel = "KERNEL(f, 32, 1)(BUF(0, float, x) GRID_ARGS) { %s }"
	for text, found := range map[string]bool{
		`x[0] = GRID.lane;`: false,
		`float y; asm("mov.f32 %0, %1;" : "=f"(y) : "f"(x[0]));`:           false,
		`float y; asm("mov.f32 %0, %1;" : "=f"(y) : "Q"(x[0]));`:           true, // no such operand
		`float y; asm("mov.f32 %0, %2;" : "=f"(y) : "f"(x[0]));`:           true, // no operand 2
		`x[0] = GRID.lane_of_nothing;`:                                     true,
		"\n#if __CUDA_ARCH__ >= 900\n x[0] = missing(1);\n#endif\n":        true,
		"\n#if __CUDA_ARCH__ >= 1000\n x[0] = missing(1);\n#endif\n":       false,
		"\n#if __CUDA_ARCH__ < 900\n x[0] = missing(1);\n#endif\n x[0]++;": false,
	} {
		err := checkCUDA(t, dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.cu", Text: fmt.Sprintf(kernel, text)}}}, 90)
		failed := new(gpu.CompileError)
		if wrong := errors.As(err, &failed); wrong != found || err != nil && !wrong {
			t.Errorf("%s: %v", text, err)
		} else if wrong && !strings.Contains(failed.Log, "wrong.cu:") {
			t.Errorf("the log does not name the file: %s", failed.Log)
		}
	}
}
