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

func TestKernelsKeepTheDialectsRules(t *testing.T) {
	for _, u := range append(kernels.Units(), gated.Unit()) {
		if err := Rules(u); err != nil {
			t.Error(err)
		}
	}
}

func TestBrokenRulesAreFoundWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"FN float f() { return 0.5; }":                                                                       "wrong.metal:2: 0.5 is a double",
		"FN float f() { return 1e-5; }":                                                                      "wrong.metal:2: 1e-5 is a double",
		"FN float f() { return 3.; }":                                                                        "wrong.metal:2: 3. is a double",
		"FN float f(double x) { return 1.0f; }":                                                              "double is not Metal's",
		"FN uint f(uint vertex) { return vertex; }":                                                          "vertex is not Metal's",
		"FN uint f() { static uint n = 0; return n; }":                                                       "static uint: only",
		"struct S { static constexpr int N = 1; };":                                                          "static constexpr: only",
		"template <typename T> FN thread T& mix(T a) { return a; }":                                          "mix is a function of Metal's library",
		"FN void f() { SHARED(float, s, 4); }":                                                               "outside of a kernel",
		"KERNEL(k, 32, 1)(BUF(0, float, x), BUF(2, float, y) GRID_ARGS) {}":                                  "argument 1 has number 2",
		"KERNEL(k, 32, 1)(BUF(1, float, x), ARG(0, P, p) GRID_ARGS) {}":                                      "argument 0 has number 1",
		"KERNEL(k, 32, 1)(ARG(0, P, p), BUF(1, float, x) GRID_ARGS) {}":                                      "argument 0 is a value, and is not the last",
		"#define K(name) \\\nKERNEL(name, 32, 1)(BUF(0, float, x), BUF(0, float, y) GRID_ARGS) {}":           "argument 1 has number 0",
		"#if defined(__METAL_VERSION__)\nFN void f() { asm(\"nop\"); }\n#else\n#endif":                       "asm is not Metal's",
		"#if defined(__METAL_VERSION__)\n#if X\n#else\nFN void f() { asm(\"nop\"); }\n#endif\n#else\n#endif": "asm is not Metal's",
		"#if defined(__METAL_VERSION__)\n#else\n#endif\nFN void f() { asm(\"nop\"); }":                       "asm is not Metal's",
	} {
		err := Rules(dialect.Unit{Name: "wrong", Files: []dialect.File{{Name: "wrong.metal", Text: "// 0.5, double, \"static\"\n" + text}}})
		if failed := new(gpu.CompileError); !errors.As(err, &failed) || !strings.Contains(failed.Log, want) {
			t.Errorf("%s: %v, without %q", text, err, want)
		}
	}
}

func TestWhatTheRulesAllowIsNotFound(t *testing.T) {
	for _, text := range []string{
		"FN float f() { return 0.5f + 1.5h + 2e-3f + float(0x1p3f) + a.x; }",
		"struct S { static constant constexpr int N = 1; static FN int f() { return 1; } };",
		"KERNEL(k, 32, 1)(BUF(0, float, x), ARG(1, P, p) GRID_ARGS) { SHARED(float, s, 4); }",
		"#if defined(__METAL_VERSION__)\n#else\nFN void f() { asm(\"nop\"); }\n#endif",
		"#if defined(__METAL_VERSION__)\n#elif A\n#else\n#if X\nFN void f() {}\n#else\n#endif\nFN void f() { asm(\"nop\"); }\n#endif",
		"/* double\n0.5 */ FN float newest(float deleted) { return deleted; }",
	} {
		if err := Rules(dialect.Unit{Files: []dialect.File{{Name: "right.metal", Text: text}}}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
