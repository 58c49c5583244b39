package rdma

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// flowEnd is one end of a connection in the model: its account, the messages on their way to it, and what it
// has not read yet.
type flowEnd struct {
	flow
	coming []header
	unread int
	posted int // receives that the adapter has
}

func TestNoMessageEverFindsItsReceiverWithoutABuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := [2]int{rapid.IntRange(1, 9).Draw(t, "slots"), rapid.IntRange(1, 9).Draw(t, "peer's slots")}
		var ends [2]*flowEnd
		for i := range ends {
			ends[i] = &flowEnd{flow: newFlow(slots[i], slots[1-i]), posted: slots[i] + spareReceives}
		}
		transmit := func(from int, k kind) {
			peer := ends[1-from]
			length := 0
			if k == kindData {
				length = 1
			}
			if peer.coming = append(peer.coming, ends[from].next(k, length)); len(peer.coming) > peer.posted {
				t.Fatalf("%d messages are on their way to %d receives", len(peer.coming), peer.posted)
			}
		}
		pay := func(i int) {
			if ends[i].due() {
				transmit(i, kindCredit)
			}
		}
		take := func(i int) {
			e := ends[i]
			h := e.coming[0]
			e.coming = e.coming[1:]
			e.posted--
			if err := e.accept(h); err != nil {
				t.Fatal(err)
			}
			if h.kind == kindData {
				e.unread++
			} else {
				e.posted++
			}
			pay(i)
		}
		read := func(i int) {
			e := ends[i]
			e.unread--
			e.posted++
			e.release()
			pay(i)
		}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "end")
			e := ends[i]
			switch what := rapid.SampledFrom([]string{"send", "take", "read"}).Draw(t, "what"); {
			case what == "send" && e.credits > 0:
				transmit(i, kindData)
			case what == "take" && len(e.coming) > 0:
				take(i)
			case what == "read" && e.unread > 0:
				read(i)
			}
		}
		// Once everything is read, each end may send again: nothing is stuck.
		for moved := true; moved; {
			moved = false
			for i, e := range ends {
				for ; len(e.coming) > 0; moved = true {
					take(i)
				}
				for ; e.unread > 0; moved = true {
					read(i)
				}
			}
		}
		for i, e := range ends {
			if e.credits == 0 {
				t.Fatalf("end %d has no credits left, with all that it sent read: %+v", i, e.flow)
			}
		}
	})
}

func TestFlowFindsWhatCannotBe(t *testing.T) {
	for what, h := range map[string]header{
		"a message is missing": {seq: 1, kind: kindCredit},
		"too many credits":     {credits: 1, kind: kindCredit},
	} {
		f := newFlow(2, 2)
		if err := f.accept(h); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", what, err)
		}
	}
	f := newFlow(1, 1)
	if err := f.accept(header{kind: kindData, length: 1}); err != nil {
		t.Fatal(err)
	}
	if err := f.accept(header{kind: kindData, length: 1, seq: 1}); !errors.Is(err, ErrProtocol) {
		t.Errorf("data without a credit: %v", err)
	}
}
