package model_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/internal/offheap"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/model/modeltest"
)

// inFiles is how many bytes of the test's own files are mapped.
func inFiles(t *testing.T) (n int) {
	t.Helper()
	folder := filepath.Dir(t.TempDir())
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.Contains(line, folder) {
			continue
		}
		var start, end int
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			t.Fatal(err)
		}
		n += end - start
	}
	return n
}

// copying is a device that has memory of its own.
type copying struct{ *cpu.Device }

func (copying) Load(m device.Matrix) (device.Matrix, error) {
	m.Data = slices.Clone(m.Data)
	return m, nil
}

// loaded is the layers of a model on a device.
func loaded(t *testing.T, m *model.Model, r model.Range, dev device.Device) *model.Decoder {
	t.Helper()
	d, err := m.Layers(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(t.Context(), dev, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Unload)
	return d
}

func TestSettlingMovesWeightsIntoHugePagesAndChangesNothingForWhoReadsThem(t *testing.T) {
	const table = 100_000 * 64 * 4 // bytes; the embedding is one such, and the head
	m := modeltest.Open(t, modeltest.Options{Vocab: 100_000})
	dev := cpu.New(1)
	defer dev.Close()
	ids := someIDs(9, m.Config.Vocab)
	want := logits(t, m, reference{}, ids, 9)
	all, last := loaded(t, m, model.Range{First: 0, End: 4}, dev), loaded(t, m, model.Range{First: 3, End: 4}, dev)
	before := inFiles(t)
	done := make(chan error, 1)
	go func() { done <- all.Settle(t.Context()) }()
	for range 3 {
		if got := logits(t, m, reference{}, ids, 9); !slices.Equal(got.Data, want.Data) {
			t.Fatal("other logits while weights are moved")
		}
	}
	if err := <-done; errors.Is(err, offheap.ErrNoHugePages) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if moved := before - inFiles(t); moved < 2*table-4<<20 {
		t.Errorf("%d bytes of %d lie in memory of their own", moved, 2*table)
	}
	if err := last.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	if got := logits(t, m, reference{}, ids, 9); !slices.Equal(got.Data, want.Data) {
		t.Error("other logits when weights have been moved")
	}
}

func TestOnlyWhatADeviceReadsInPlaceIsMoved(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{Vocab: 50_000})
	dev := cpu.New(1)
	defer dev.Close()
	d := loaded(t, m, model.Range{First: 0, End: 4}, copying{dev})
	before := inFiles(t)
	if err := d.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	if moved := before - inFiles(t); before < 2*50_000*64*4 || moved != 0 {
		t.Errorf("%d bytes of %d were moved, of weights that were copied anyway", moved, before)
	}
}

func TestSettlingEndsWhenTold(t *testing.T) {
	m := modeltest.Open(t, modeltest.Options{Vocab: 50_000})
	dev := cpu.New(1)
	defer dev.Close()
	d := loaded(t, m, model.Range{First: 0, End: 4}, dev)
	reason := errors.New("the model is going away")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if err := d.Settle(ctx); errors.Is(err, offheap.ErrNoHugePages) {
		t.Skip(err)
	} else if !errors.Is(err, reason) {
		t.Errorf("ended with %v", err)
	}
}
