package device_test

import (
	"testing"

	"github.com/orrery-ai/orrery/device"
)

func TestArenaHandsOutEachElementOnce(t *testing.T) {
	a, err := device.NewArena(device.Host{}, 4*100)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Free()
	x, none, y := a.Floats(60), a.Floats(0), a.Floats(40)
	for i := range x {
		x[i] = 1
	}
	for i, v := range y {
		if v != 0 {
			t.Fatalf("element %d is %v", i, v)
		}
	}
	if len(x) != 60 || len(none) != 0 || len(y) != 40 || cap(x) != 60 {
		t.Errorf("%d, %d and %d elements", len(x), len(none), len(y))
	}
	defer func() {
		if recover() == nil {
			t.Error("an empty arena hands out more")
		}
	}()
	a.Floats(1)
}
