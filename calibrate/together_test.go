package calibrate

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

// small is a layout that a test has time for.
var small = Layout{Layers: 3, KVHeads: 2, HeadDim: 64, LayerBytes: 1 << 20}

// sit measures nodes on such devices together.
func sit(t *testing.T, l Layout, apart bool, devices ...device.Device) ([]placement.Together, error) {
	t.Helper()
	a := endpoint(t, "a")
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	var chairs []Chair
	var invites []func() error
	for i, d := range devices {
		name, id := string(rune('b'+i)), uint64(2*i)
		e := endpoint(t, name)
		a.SetPeer(name, e.Addr())
		e.SetPeer("a", a.Addr())
		chairs = append(chairs, Chair{name, id})
		invites = append(invites, func() error {
			s, err := NewSeat(e, "a", id, d, l)
			if err == nil {
				serving.Go(func() { _ = s.Serve(t.Context()) })
			}
			return err
		})
	}
	return Sit(t.Context(), a, chairs, l, apart, SittingBriefly, func(context.Context) error {
		for _, invite := range invites {
			if err := invite(); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestNodesOfAMachineSitTogether(t *testing.T) {
	d, e := cpu.New(1), cpu.New(1)
	defer d.Close()
	defer e.Close()
	for _, apart := range []bool{true, false} {
		all, err := sit(t, small, apart, d, e)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 2 {
			t.Fatalf("%d of two nodes", len(all))
		}
		for i := range all {
			if err := all[i].Check(); err != nil || !all[i].Turn.Known() || all[i].Once.Known() != apart || all[i].Ring.Known() != apart {
				t.Errorf("node %d, apart %v: %+v, %v", i, apart, all[i], err)
			}
			if first, want := all[i].Turn.Bytes[0], float64(small.LayerBytes*int64(small.Layers)); first != want {
				t.Errorf("without keys and values %v bytes are read, and there are %v of weights", first, want)
			}
		}
	}
}

func TestWeightsOfWhichCachesHoldNothingAreNotRead(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	for _, bytes := range []int64{0, 100, weightsBytes + 1, 1 << 40} {
		other := small
		other.LayerBytes = bytes
		all, err := sit(t, other, false, d)
		if err != nil {
			t.Fatal(err)
		}
		if turn := all[0].Turn; all[0].Check() != nil || turn.Weights != turn.Cached || turn.Bytes[0] > cacheBytes {
			t.Errorf("layers of %d bytes: %+v", bytes, turn)
		}
	}
	if n := small.weights(3); n != 1<<20 {
		t.Errorf("each of three nodes reads %d bytes of three layers of a MiB", n)
	}
}

func TestADeviceThatFailsEndsTheSitting(t *testing.T) {
	begun := time.Now()
	if all, err := sit(t, small, true, fake{ops: new(atomic.Int64), fault: errors.New("broken")}); err == nil {
		t.Errorf("what is measured: %+v", all)
	}
	if time.Since(begun) > SittingTime {
		t.Error("it was waited for to the end")
	}
}

func TestASittingHasBounds(t *testing.T) {
	a := endpoint(t, "a")
	for _, n := range []int{0, MaxTogether + 1} {
		if _, err := Sit(t.Context(), a, make([]Chair, n), small, true, SittingBriefly, nil); err == nil {
			t.Errorf("%d nodes are accepted", n)
		}
	}
	for what, spoil := range map[string]func(*Layout){
		"no layers":      func(l *Layout) { l.Layers = 0 },
		"layers":         func(l *Layout) { l.Layers = mostLayers + 1 },
		"no heads":       func(l *Layout) { l.KVHeads = 0 },
		"heads":          func(l *Layout) { l.KVHeads = mostKVHeads + 1 },
		"no elements":    func(l *Layout) { l.HeadDim = 0 },
		"odd elements":   func(l *Layout) { l.HeadDim = 63 },
		"elements":       func(l *Layout) { l.HeadDim = mostHeadDim + 2 },
		"less than none": func(l *Layout) { l.LayerBytes = -1 },
	} {
		l := small
		spoil(&l)
		if _, err := NewSeat(a, "b", 0, fake{}, l); err == nil {
			t.Errorf("%s: %+v is accepted", what, l)
		}
	}
}

func TestASeatRefusesWhatItCannotDo(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	heavy := Layout{Layers: 1, KVHeads: mostKVHeads, HeadDim: mostHeadDim, LayerBytes: weightsBytes + 1}
	a := endpoint(t, "a")
	back, err := a.Receiver("a", probeLane(0, true), seatBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	s, err := NewSeat(a, "a", 0, d, heavy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	tell := func(verb byte, first, bytes uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{verb}, first), bytes)
	}
	for _, c := range []struct {
		want    string
		message []byte
	}{
		{"in 3 bytes", []byte{1, 2, 3}},
		{"to read 1 from", tell(attendTo, 1<<62, 1)},
		{"to read 64 from 1 on", tell(attendTo, 1, 64)},
		{"18446744073709551615", tell(forgetPart, 64, 1<<64-1)},
		{"to do 99", tell(99, 0, 0)},
		{"no room for a layer's", tell(multiply, 0, 1<<20)},
		{"more than the 1024 bytes", tell(attendTo, 0, 1024)},
		{"more than 256 parts", nil}, // last, as there are as many then
	} {
		_, err := s.do(c.message)
		for i := uint64(0); c.message == nil && i <= mostPasses; i++ { // each another part
			*s.bench.err = nil
			_, err = s.do(tell(attendRate, 64*i, 1024))
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}
