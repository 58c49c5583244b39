package calibrate

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern/emulator/emulatortest"
	"github.com/orrery-ai/orrery/transport"
)

// emulated is an emulated GPU; the test is skipped where there is none.
func emulated(t *testing.T) device.Device {
	t.Helper()
	d := emulatortest.Device(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// answers makes an echo on a device when it is invited, and waits for its end with the test.
func answers(t *testing.T, e *transport.Endpoint, d device.Device, from string, id uint64) func(context.Context) (bool, error) {
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(ctx context.Context) (bool, error) {
		echo, err := NewExchangeEcho(e, d, from, id)
		if echo != nil {
			serving.Go(func() {
				if err := echo.Serve(context.Background()); err != nil {
					t.Logf("the echo ended with %v", err)
				}
			})
		}
		return echo != nil, err
	}
}

func TestExchangesOfDevicesAreMeasuredBothWaysThatTheyGo(t *testing.T) {
	x, y := emulated(t), emulated(t)
	for _, synch := range []transport.Synch{transport.Fast, transport.Safe} {
		a, b := endpoint(t, "a"), endpoint(t, "b")
		a.SetSynch(synch) // with Fast through memory that both have
		b.SetSynch(synch)
		a.SetPeer("b", b.Addr())
		b.SetPeer("a", a.Addr())
		for id := range uint64(2) { // lanes are free again
			took, err := MeasureExchange(t.Context(), a, x, "b", 2*id, answers(t, b, y, "a", 2*id))
			if err != nil || took <= 0 {
				t.Errorf("%v: %v, %v", synch, took, err)
			}
			t.Logf("%v: %v", synch, took)
		}
	}
}

func TestWhereADeviceMakesNoExchangesNoneAreMeasured(t *testing.T) {
	a, b := endpoint(t, "a"), endpoint(t, "b")
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	gpu, processor := emulated(t), cpu.New(1)
	defer processor.Close()
	if took, err := MeasureExchange(t.Context(), a, gpu, "b", 2, answers(t, b, processor, "a", 2)); took != 0 || err != nil {
		t.Errorf("%v, %v", took, err)
	}
	took, err := MeasureExchange(t.Context(), b, processor, "a", 4, func(context.Context) (bool, error) {
		t.Error("the peer was invited")
		return false, nil
	})
	if took != 0 || err != nil {
		t.Errorf("%v, %v", took, err)
	}
	refused := errors.New("no such node")
	if _, err := MeasureExchange(t.Context(), a, gpu, "b", 6, func(context.Context) (bool, error) { return false, refused }); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	if _, err := MeasureExchange(t.Context(), a, gpu, "b", 8, func(context.Context) (bool, error) { return true, nil }); err == nil {
		t.Error("exchanges with nobody were measured")
	}
}

func TestExchangesEndWithWhoAnswersThem(t *testing.T) {
	x, y := emulated(t), emulated(t)
	a, b := endpoint(t, "a"), endpoint(t, "b")
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	_, err := MeasureExchange(t.Context(), a, x, "b", 2, func(context.Context) (bool, error) {
		echo, err := NewExchangeEcho(b, y, "a", 2)
		if err != nil {
			return false, err
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := echo.Serve(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the echo ended with %v", err)
		}
		return true, nil
	})
	if err == nil {
		t.Error("silence was measured")
	}
}
