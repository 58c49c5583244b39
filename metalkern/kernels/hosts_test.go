package kernels

import (
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/cuda"
	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/emulator"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/metal"
)

// limit is the longest that a test's launches may take.
const limit = 2 * time.Minute

// bench is a host to run kernels on, with a queue.
type bench struct {
	testing.TB
	set    *Set
	queue  gpu.Queue
	orders []uint32 // of lanes, on the emulator
	setter func(uint32)
}

// onHosts runs a test on each host that there is here, having compiled the instances together: on the emulator with both kinds of
// fragments and in several orders of lanes, and on a GPU, twice. ORRERY_TEST_DEVICE=cuda or metal leaves the emulator out, and does not do without that GPU.
func onHosts(t *testing.T, list []instance, test func(t *testing.T, b *bench)) {
	only := os.Getenv("ORRERY_TEST_DEVICE")
	for _, device := range []struct {
		kind string
		open func() (gpu.Host, error)
	}{
		{"metal", func() (gpu.Host, error) { return metal.Open() }},
		{"cuda", func() (gpu.Host, error) { return cuda.Open(0) }},
	} {
		if only != "" && only != device.kind {
			continue
		}
		t.Run(device.kind, func(t *testing.T) {
			h, err := device.open()
			if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) && only == "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			run(t, h, list, []uint32{0, 0}, func(uint32) {}, test)
		})
	}
	if only != "" && only != "emulator" {
		return
	}
	for _, target := range []struct {
		name   string
		target dialect.Target
	}{{"cuda fragments", dialect.CPP}, {"metal fragments", dialect.CPPMetal}} {
		t.Run(target.name, func(t *testing.T) {
			h, err := emulator.Open(target.target)
			if unavailable := new(gpu.UnavailableError); errors.As(err, &unavailable) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			run(t, h, list, []uint32{0, 1, 7}, h.SetOrder, test)
		})
	}
}

func run(t *testing.T, h gpu.Host, list []instance, orders []uint32, setter func(uint32), test func(t *testing.T, b *bench)) {
	q, err := h.NewQueue()
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	b := &bench{TB: t, set: New(h), queue: q, orders: orders, setter: setter}
	if err := b.set.need(list...); err != nil {
		t.Fatal(err)
	}
	test(t, b)
}

// sub is the bench for a subtest.
func (b *bench) sub(t *testing.T) *bench {
	return &bench{TB: t, set: b.set, queue: b.queue, orders: b.orders, setter: b.setter}
}

// inOrders computes in each order of the lanes, and fails if the results differ in a bit.
func (b *bench) inOrders(compute func() []float32) []float32 {
	b.Helper()
	var first []float32
	for i, order := range b.orders {
		b.setter(order)
		got := compute()
		if i == 0 {
			first = got
			continue
		}
		for j := range got {
			if math.Float32bits(got[j]) != math.Float32bits(first[j]) {
				b.Fatalf("element %d is %v with the lanes in order %d, and %v in order %d", j, got[j], order, first[j], b.orders[0])
			}
		}
	}
	return first
}

// buffer makes a buffer that holds data.
func buffer[T any](b *bench, data []T) gpu.Range {
	b.Helper()
	n := max(16, len(data)*int(unsafe.Sizeof(*new(T))))
	m, err := b.set.host.Alloc(int64(n), gpu.Local)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Free() })
	if len(data) > 0 {
		b.queue.Write(gpu.Range{Buffer: m}, bytesOf(data))
	}
	b.wait()
	return gpu.Range{Buffer: m}
}

// room makes a buffer of n floats that hold NaN.
func room(b *bench, n int) gpu.Range {
	poison := make([]float32, n)
	for i := range poison {
		poison[i] = float32(math.NaN())
	}
	return buffer(b, poison)
}

// floats reads n floats.
func floats(b *bench, r gpu.Range, n int) []float32 {
	b.Helper()
	x := make([]float32, n)
	b.queue.Read(bytesOf(x), r)
	b.wait()
	return x
}

func (b *bench) wait() {
	b.Helper()
	if err := b.queue.Wait(time.Now().Add(limit)); err != nil {
		b.Fatal(err)
	}
}

func bytesOf[T any](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), len(x)*int(unsafe.Sizeof(x[0])))
}

// apart is the largest difference of got from want, relative to the root mean square of want.
func apart(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	sum, worst := 0.0, 0.0
	for _, w := range want {
		sum += w * w
	}
	scale := math.Sqrt(sum/float64(len(want))) + 1e-30
	for i, w := range want {
		if d := math.Abs(float64(got[i])-w) / scale; !(d <= worst) {
			worst = d // NaN comes here, too
		}
	}
	return worst
}

func near(tb testing.TB, what string, got []float32, want []float64, bound float64) {
	tb.Helper()
	if d := apart(got, want); !(d <= bound) {
		tb.Errorf("%s: off by %.2g of the root mean square, more than %.2g", what, d, bound)
	}
}

func title(format string, args ...any) string { return fmt.Sprintf(format, args...) }
