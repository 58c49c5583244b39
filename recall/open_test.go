package recall_test

import (
	"runtime"
	"testing"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/recall"
)

// TestWeightsAreNotCopiedOutOfTheProgram binds 11 MB of weights in a fraction of that.
func TestWeightsAreNotCopiedOutOfTheProgram(t *testing.T) {
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	whole := model.Range{First: 0, End: m.Config.Layers}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := m.Layers(whole)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 256<<10 || m.RangeBytes(whole) < 11<<20 {
		t.Errorf("binding %d bytes of weights took %d of memory", m.RangeBytes(whole), took)
	}
	runtime.KeepAlive(d)
}
