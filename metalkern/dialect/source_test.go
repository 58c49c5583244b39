package dialect

import (
	"strings"
	"testing"
)

const kernel = `// device memory, thread by thread
constexpr constant float HALF = 0.5f;
FN void f(device const float* p, threadgroup float* q, thread float& r, threadgroup_barrier_t b) { r = p[0]; /* a "device" */ }
`

func TestAddressSpacesAreBlankedInPlace(t *testing.T) {
	got := strip(kernel)
	if len(got) != len(kernel) || strings.Count(got, "\n") != strings.Count(kernel, "\n") {
		t.Fatalf("columns or lines moved:\n%s", got)
	}
	want := `// device memory, thread by thread
constexpr const    float HALF = 0.5f;
FN void f(       const float* p,             float* q,        float& r, threadgroup_barrier_t b) { r = p[0]; /* a "device" */ }
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMetalGetsTheKernelAsItIs(t *testing.T) {
	u := Unit{Name: "unit", Files: []File{{Name: "f.metal", Text: kernel}}, Instances: []string{"MAKE(one)", "MAKE(two)"}}
	for _, target := range []Target{Metal, CUDA, CPP, CPPMetal} {
		text := Source(target, u)
		if strings.Contains(text, kernel) != (target == Metal) {
			t.Errorf("target %d: the kernel is there as it was: %v", target, target != Metal)
		}
		if !strings.Contains(text, "#line 1 \"f.metal\"\n") || !strings.Contains(text, "\nMAKE(one)\nMAKE(two)\n") {
			t.Errorf("target %d: lines or instances are missing", target)
		}
	}
}

func TestFragmentsAreThoseOfTheTarget(t *testing.T) {
	for target, want := range map[Target]string{Metal: "fragments_metal.h", CUDA: "fragments_cuda.h", CPP: "fragments_cuda.h", CPPMetal: "fragments_metal.h"} {
		if !strings.Contains(Source(target, Unit{}), "\""+want+"\"") {
			t.Errorf("target %d lacks %s", target, want)
		}
	}
}
