//go:build !race

package gated

import (
	"testing"
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/gpu/gputest"
)

// still is a device whose batches have run as soon as they are submitted, and have done nothing.
type still struct{ gputest.Host }

func (d *still) Submit([]Step) (Batch, error) { return d, nil }
func (d *still) NewEvent() (Event, error)     { return new(count), nil }

func (d *still) Done() (bool, error)               { return true, nil }
func (d *still) Times() (begin, end time.Duration) { return 0, 0 }
func (d *still) Release()                          {}

// TestRecordingAStepAllocatesNothing records launches with an exchange between them, each step behind the one before.
func TestRecordingAStepAllocatesNothing(t *testing.T) {
	inBothWays(t, func(t *testing.T, o Options) {
		d := &still{}
		q, err := New(d, o)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		in, err := q.NewLane(device.LaneEnd{Size: 4 * words})
		if err != nil {
			t.Fatal(err)
		}
		out, err := q.NewLane(device.LaneEnd{Size: 4 * words, Out: true})
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.Alloc(4*words, gpu.Local)
		if err != nil {
			t.Fatal(err)
		}
		x := gpu.Range{Buffer: b}
		parts := []gpu.Part{{At: x, Bytes: 4}, {At: x, Bytes: 8}}
		var queue gpu.Exchanger = q
		seq, src := uint32(0), make([]byte, 16)
		step := func() {
			queue.Write(x, src)
			for range 3 {
				for i := range 40 {
					gpu.Launch(queue, q.kernels.copy, gpu.Grid{X: 1, Y: 1, Z: 1, Threads: 32}, gpu.Buffers(x, x), copyParams{n: uint64(i)})
				}
				queue.Send(out, seq, parts[0])
				queue.Receive(in, seq, parts...)
				seq++
			}
			queue.Read(src, x)
			q.Fence()
			if err := q.Reach(time.Now().Add(limit)); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			step()
		}
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
