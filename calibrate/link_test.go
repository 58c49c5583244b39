package calibrate

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

func endpoint(t *testing.T, name string) *transport.Endpoint {
	t.Helper()
	e, err := transport.Listen("127.0.0.1:0", transport.Config{Cluster: "test", Node: name, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// serve makes an echo when it is invited, and waits for its end with the test.
func serve(t *testing.T, e *transport.Endpoint, from string, id uint64) func(context.Context) error {
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(ctx context.Context) error {
		echo, err := NewEcho(e, from, id)
		if err == nil {
			serving.Go(func() {
				if err := echo.Serve(context.Background()); err != nil {
					t.Errorf("the echo ended with %v", err)
				}
			})
		}
		return err
	}
}

func TestALinkIsMeasuredAndItsLanesEnd(t *testing.T) {
	a, b := endpoint(t, "a"), endpoint(t, "b")
	a.SetPeer("b", b.Addr())
	b.SetPeer("a", a.Addr())
	for i := range uint64(3) {
		id := 2 * i // the lowest bit does not count
		l, err := MeasureLink(t.Context(), a, "b", id, serve(t, b, "a", id))
		if err != nil {
			t.Fatal(err)
		}
		if l.Busy <= 0 || l.Paused <= 0 || l.Sending <= 0 || l.Sending > l.Paused || !(l.Bandwidth > 0) || l.Check() != nil {
			t.Errorf("%+v", l)
		}
	}
}

func TestLinksThatCannotBeAreRefused(t *testing.T) {
	good := Link{Busy: 1, Paused: 2, Sending: 1, Bandwidth: 1, Telling: 3}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(l *Link){
		"no time":                 func(l *Link) { l.Busy = 0 },
		"no bandwidth":            func(l *Link) { l.Bandwidth = 0 },
		"telling before the work": func(l *Link) { l.Telling = -1 },
		"telling for too long":    func(l *Link) { l.Telling = 2 * LinkTime },
	} {
		l := good
		spoil(&l)
		if l.Check() == nil {
			t.Errorf("%s was accepted: %+v", what, l)
		}
	}
}

func TestTheWayToOneselfIsMeasuredToo(t *testing.T) {
	a := endpoint(t, "a")
	l, err := MeasureLink(t.Context(), a, "a", 7, serve(t, a, "a", 7))
	if err != nil || l.Paused <= 0 || !(l.Bandwidth > 0) {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestALinkToNobodyIsAnError(t *testing.T) {
	a := endpoint(t, "a")
	refused := errors.New("no such node")
	if _, err := MeasureLink(t.Context(), a, "b", 1, func(context.Context) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	if _, err := MeasureLink(t.Context(), a, "b", 1, func(context.Context) error { return nil }); err == nil {
		t.Error("a peer without an address was measured")
	}
}

func TestAPeerThatDoesNotAnswerEndsWithTheContext(t *testing.T) {
	a, b := endpoint(t, "a"), endpoint(t, "b")
	a.SetPeer("b", b.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := MeasureLink(ctx, a, "b", 1, func(context.Context) error {
		r, err := b.Receiver("a", probeLane(1, false), parcelBytes)
		if err == nil {
			t.Cleanup(r.Close)
		}
		return err
	})
	if err == nil {
		t.Error("silence was measured")
	}
}

func TestAnEchoEndsWithItsNode(t *testing.T) {
	a, b := endpoint(t, "a"), endpoint(t, "b")
	b.SetPeer("a", a.Addr())
	r, err := a.Receiver("b", probeLane(1, true), parcelBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	echo, err := NewEcho(b, "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := echo.Serve(ctx); err == nil {
		t.Error("it ended well, though nobody closed the lane")
	}
}
