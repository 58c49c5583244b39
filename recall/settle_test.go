package recall_test

import (
	"errors"
	"hash/crc32"
	"testing"

	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/internal/offheap"
	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/recall"
)

func TestOpeningAgainLeavesWeightsThatHaveMoved(t *testing.T) {
	m, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := m.File("model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	want := crc32.ChecksumIEEE(b)
	dev := cpu.New(1)
	defer dev.Close()
	d, err := m.Layers(model.Range{First: 0, End: m.Config.Layers})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(t.Context(), dev, nil); err != nil {
		t.Fatal(err)
	}
	defer d.Unload()
	if err := d.Settle(t.Context()); errors.Is(err, offheap.ErrNoHugePages) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	again, err := recall.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := crc32.ChecksumIEEE(b); got != want {
		t.Errorf("the weights' checksum is %#x after another Open, not %#x", got, want)
	}
}
