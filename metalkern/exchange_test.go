package metalkern

import (
	"errors"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

// A stream sends a partial to itself, round the host, and merges it with its own: that is Merge and Finish, in one.
func TestPartsOfOtherNodesAreMergedWithOnesOwn(t *testing.T) {
	dev := open(t)
	shape := attention.Shape{Heads: 3, KVHeads: 3, HeadDim: 64}
	const rows = 2
	size := int(shape.PartialBytes(rows))
	st := dev.NewStream().(device.Exchanger)
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	arena := place(t, dev, 5*int(shape.PartialBytes(2*rows)))
	both, sum, other := attention.PartialIn(arena.Floats, 2*rows, shape), attention.PartialIn(arena.Floats, rows, shape), attention.PartialIn(arena.Floats, rows, shape)
	width := shape.Heads * shape.HeadDim
	got, want := device.Tensor{Rows: rows, Cols: width, Data: arena.Floats(rows * width)}, device.Tensor{Rows: rows, Cols: width, Data: arena.Floats(rows * width)}

	fill := func(p attention.Partial, seed int) {
		for i, f := range [][]float32{p.O, p.M, p.L} {
			v := make([]float32, len(f))
			for j := range v {
				v[j] = float32((j*31+seed)%17)/4 + float32(i)
			}
			st.Write(device.Tensor{Rows: 1, Cols: len(f), Data: f}, v)
		}
	}
	fill(both.Slice(0, rows), 1)
	fill(sum, 1)
	fill(other, 5)
	st.Merge(sum, other)
	st.Finish(want, sum)

	out, err := st.NewLane(device.LaneEnd{Size: size, Out: true})
	if err != nil {
		t.Fatal(err)
	}
	in, err := st.NewLane(device.LaneEnd{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	// The message is the other partial: o, m, l, sent as one.
	all := arena.Floats(size / 4)
	message := bytesOf(all)
	fill(attention.Partial{Rows: rows, Heads: shape.Heads, Dim: shape.HeadDim, O: all[:len(other.O)], M: all[len(other.O):][:len(other.M)], L: all[len(other.O)+len(other.M):]}, 5)
	st.Await(out, 0, 0)
	st.Send(out, 0, message)
	part := both.Slice(rows, 2*rows)
	st.Receive(in, 0, bytesOf(part.O), bytesOf(part.M), bytesOf(part.L))
	st.FinishAll(got, both, 2)
	a, b := st.Download(bytesOf(got.Data)), st.Download(bytesOf(want.Data))
	go func() { // transport
		for end := time.Now().Add(time.Minute); out.Words.Done.Load() == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				in.Fail(errors.New("nothing was sent"))
				return
			}
		}
		n := copy(in.Slots[0], out.Slots[0][:out.Words.Bytes[0].Load()])
		in.Words.Bytes[0].Store(uint32(n))
		in.SetReady(1)
	}()
	if err := st.Wait(); err != nil {
		t.Fatal(err)
	}
	floats := func(b []byte) []float32 {
		return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
	}
	x, y := floats(a), floats(b)
	for i := range y {
		if d := math.Abs(float64(x[i] - y[i])); !(d <= 1e-6*math.Abs(float64(y[i]))) {
			t.Fatalf("element %d is %v, want %v", i, x[i], y[i])
		}
	}

	// A message of another length ends the step.
	st.Receive(in, 1, bytesOf(part.O))
	in.Words.Bytes[1].Store(4)
	in.SetReady(2)
	wrong := new(device.LengthError)
	if err := st.Wait(); !errors.As(err, &wrong) || wrong.Have != 4 || wrong.Want != 4*len(part.O) {
		t.Fatalf("the error is %v", err)
	}
	// A lane is one stream's.
	second := dev.NewStream().(device.Exchanger)
	defer second.Close()
	second.Await(in, 2, 0)
	if err := second.Wait(); err == nil {
		t.Error("another stream's lane is awaited")
	}
}
