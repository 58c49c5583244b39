package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/metalkern/emulator/emulatortest"
	"github.com/orrery-ai/orrery/model/modeltest"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/transport"
)

// emulated is the setup of nodes whose devices exchange by themselves, or the test is skipped.
func emulated(t *testing.T, s setup) setup {
	t.Helper()
	s.kv, s.model = attention.F16, modeltest.Options{Layers: 3, Format: device.F16}
	s.device = func() device.Device { return emulatortest.Device(t) }
	return s
}

// ways are those that the messages of devices take.
var ways = map[string]transport.Config{
	"over connections":                       {Synch: transport.Safe},
	"over connections, with gates that spin": {Synch: transport.Fast, NoSharedMemory: true},
	"in shared memory":                       {Synch: transport.Fast},
}

// dealt computes 8 tokens on node 0, and deals their blocks out over two nodes, in epoch 2.
func dealt(b *bench, ids []int32) (logits []float32) {
	b.Helper()
	b.open(owned(1, placement.Pooled, 3, 2, 0))
	logits, err := b.chunk(1, 0, ids[:8])
	if err != nil {
		b.Fatal(err)
	}
	b.copyTo(3, 0, 1, rect(0, 3, 4, 8))
	b.takeUp(owned(2, placement.Pooled, 3, 2, 8), 3, 0, 1)
	return logits
}

// exchanges is how many layers a node has asked another's device for.
func (b *bench) exchanges(node, other int) uint32 { return b.engines[node].asking[other].seq }

func TestDevicesExchangeWhatHostsDo(t *testing.T) {
	alone := newBench(t, emulated(t, setup{nodes: 1}))
	ids := alone.ids(13)
	alone.open(piped(1, 3, 1))
	want, failed := alone.chunk(1, 0, ids)
	if failed != nil {
		t.Fatal(failed)
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, emulated(t, setup{nodes: 2, transport: way}))
			got := dealt(b, ids)
			for first := 8; first < 13; first++ {
				logits, err := b.chunk(2, first, ids[first:first+1])
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, logits...)
			}
			near(t, "exchanged by devices", got, want)
			if n := b.exchanges(0, 1); n != 5*3 {
				t.Errorf("devices made %d exchanges, not one for each of 5 tokens and 3 layers", n)
			}
			shape := b.model.Config.Shape()
			want := transport.Traffic{MessagesOut: 5 * 3, BytesOut: 5 * 3 * 4 * uint64(shape.Heads*shape.HeadDim)}
			if got := b.engines[0].cfg.Endpoint.Counters()[transport.QueryAhead]; got != want {
				t.Errorf("queries are counted as %+v, want %+v", got, want)
			}
			want = transport.Traffic{MessagesIn: 5 * 3, BytesIn: 5 * 3 * uint64(shape.PartialBytes(1))}
			if got := b.engines[0].cfg.Endpoint.Counters()[transport.PartialAhead]; got != want {
				t.Errorf("answers are counted as %+v, want %+v", got, want)
			}
		})
	}
}

// Steps of many tokens, as in prefill, are recorded ahead where their messages are not carried by hosts.
func TestDevicesExchangeLongStepsThroughSharedMemory(t *testing.T) {
	alone := newBench(t, emulated(t, setup{nodes: 1}))
	ids := alone.ids(69)
	alone.open(piped(1, 3, 1))
	var want []float32
	for _, c := range [][2]int{{0, 8}, {8, 28}, {28, 69}} {
		logits, err := alone.chunk(1, c[0], ids[c[0]:c[1]])
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, logits...)
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, emulated(t, setup{nodes: 2, transport: way}))
			got := dealt(b, ids)
			for _, c := range [][2]int{{8, 28}, {28, 69}} { // with room for all parts beside each other, and without
				logits, err := b.chunk(2, c[0], ids[c[0]:c[1]])
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, logits...)
			}
			near(t, "exchanged", got, want)
			exchanges := uint32(0)
			if name == "in shared memory" {
				exchanges = 2 * 3
			}
			if n := b.exchanges(0, 1); n != exchanges {
				t.Errorf("devices made %d exchanges, want %d", n, exchanges)
			}
		})
	}
}

func TestANodeWithoutSuchADeviceIsAskedByItsHost(t *testing.T) {
	s := emulated(t, setup{nodes: 2})
	first, open := true, s.device
	s.device = func() device.Device {
		if first {
			first = false
			return open()
		}
		return cpu.New(1)
	}
	b := newBench(t, s)
	ids := b.ids(9)
	dealt(b, ids)
	if _, err := b.chunk(2, 8, ids[8:9]); err != nil {
		t.Fatal(err)
	}
	if n := b.exchanges(0, 1); n != 0 {
		t.Errorf("the device made %d exchanges with a node whose device makes none", n)
	}
}

func TestAHolderThatCannotAnswerSaysWhyAndIsAskedByItsHostFromThenOn(t *testing.T) {
	b := newBench(t, emulated(t, setup{nodes: 2}))
	ids := b.ids(10)
	b.open(owned(1, placement.Pooled, 3, 2, 0))
	if _, err := b.chunk(1, 0, ids[:8]); err != nil {
		t.Fatal(err)
	}
	b.copyTo(3, 0, 1, rect(0, 3, 4, 8))
	b.takeUp(owned(2, placement.Pooled, 3, 2, 8), 3, 0) // not on node 1
	_, failed := b.chunk(2, 8, ids[8:9])
	if failed == nil || failed.Lost != "" || !strings.Contains(failed.Text, "epoch 2") || !strings.Contains(failed.Text, "n1") {
		t.Fatalf("the step failed with %+v", failed)
	}
	dealt(b, ids)
	if _, err := b.chunk(2, 8, ids[8:9]); err != nil {
		t.Fatal(err)
	}
	if p := b.engines[0].asking[1]; p.usable() {
		t.Error("lanes on which a step has failed are used again")
	}
}

func TestAHolderThatSaysNothingEndsAStepThatWasRecordedAheadAtItsDeadline(t *testing.T) {
	b := newBench(t, emulated(t, setup{nodes: 2, timeout: 5 * time.Second, mute: map[int]bool{1: true}}))
	ids := b.ids(9)
	b.open(owned(1, placement.Pooled, 3, 2, 0))
	if _, err := b.chunk(1, 0, ids[:8]); err != nil {
		t.Fatal(err)
	}
	b.takeUp(owned(2, placement.Pooled, 3, 2, 8), 3, 0) // node 1 is to hold a block, and answers nothing
	if _, failed := b.chunk(2, 8, ids[8:9]); failed == nil || failed.Lost != "n1" || !strings.Contains(failed.Text, "n1 on lane partial-ahead") {
		t.Fatalf("the step failed with %+v", failed)
	}
}

func TestALostHolderEndsAStepThatIsRecordedAhead(t *testing.T) {
	for name, lose := range map[string]func(b *bench){
		"it closes":            func(b *bench) { b.engines[1].Close() },
		"its endpoint is gone": func(b *bench) { b.engines[1].cfg.Endpoint.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, emulated(t, setup{nodes: 2}))
			ids := b.ids(9)
			dealt(b, ids)
			lose(b)
			b.steps++
			if err := b.driver.Chunk(0, seqID, b.steps, 2, 8, ids[8:9], Want{Token: true}); err != nil {
				t.Fatal(err)
			}
			r := b.result()
			for r.Step != b.steps { // that the lane of node 1's results has ended
				r = b.result()
			}
			if r.Err == nil || !strings.Contains(r.Err.Text, "n1") {
				t.Fatalf("the result is %+v", r)
			}
		})
	}
}
