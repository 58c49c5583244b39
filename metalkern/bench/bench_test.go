package bench

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

func TestEveryKernelIsMeasured(t *testing.T) {
	h, err := emulator.Open(dialect.CPP)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	report, err := Run(context.Background(), kernels.New(h), Options{Tiny: true, Progress: func(string, string) { asked++ }})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != asked || asked < 30 {
		t.Errorf("%d results of %d measurements", len(report.Results), asked)
	}
	for _, r := range report.Results {
		if !(r.Seconds > 0) || r.Bytes <= 0 || !(r.Share > 0) || math.IsInf(r.Share, 0) {
			t.Errorf("%+v", r)
		}
	}
}

func TestOnlyTheLimitsAndWhatIsAskedForAreMeasured(t *testing.T) {
	h, err := emulator.Open(dialect.CPP)
	if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(context.Background(), kernels.New(h), Options{Tiny: true, Only: func(kernel string) bool { return kernel == "norm" }})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 4 {
		t.Errorf("%d results: %+v", len(report.Results), report.Results)
	}
}
