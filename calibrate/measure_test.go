package calibrate

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/placement"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsMeasuredOfTheProcessorCanBe(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	m, err := Measure(processor(d))
	if err != nil {
		t.Fatal(err)
	}
	if !m.Rates.Known() || !(m.Bandwidth > 0) {
		t.Fatalf("%+v", m)
	}
	for i := range placement.CurveSizes {
		for name, c := range map[string][2]float64{
			"a layer":   {m.Rates.Cache.Layer[i], m.Rates.Memory.Layer[i]},
			"a product": {m.Rates.Cache.Product[i], m.Rates.Memory.Product[i]},
			"attention": {m.Rates.Cache.Attend[i], m.Rates.Memory.Attend[i]},
		} {
			if c[0] > c[1] {
				t.Errorf("%s of %.0f bytes takes %v s from the caches and %v from memory", name, placement.CurveSizes[i], c[0], c[1])
			}
		}
	}
	for i, name := range placement.WeightFormats {
		if !(m.Rates.Memory.Weights[i] > 0 && m.Rates.Cache.Weights[i] > 0) {
			t.Errorf("weights in %s: %v from memory and %v from the caches", name, m.Rates.Memory.Weights[i], m.Rates.Cache.Weights[i])
		}
	}
	for i, longer := range m.Rates.Rows {
		if !(longer > 0.5) {
			t.Errorf("products of %d tokens take %v times as long as of one, with format %d", placement.BatchRows, longer, i)
		}
	}
	for _, v := range m.Rates.Numbers() {
		if float64(float32(*v)) != *v {
			t.Errorf("%v is not what 4 bytes hold", *v)
		}
	}
}

// processor is a device on the CPU as the subject of a measurement.
func processor(d device.Device) Subject {
	return Subject{Device: d, Another: func() device.Device { return cpu.New(1) }, Bandwidth: func(arena []byte, within time.Duration) (float64, error) { return cpu.ReadRate(arena, 1, within), nil },
		Memory: 1 << 30, KVHeads: KVHeads, HeadDim: HeadDim}
}

// stopped is a device of which an operation takes so long, once, as if the process had been stopped.
type stopped struct {
	device.Device
	stop *sync.Once
}

func (d stopped) NewStream() device.Stream { return stoppedStream{d.Device.NewStream(), d.stop} }

type stoppedStream struct {
	device.Stream
	stop *sync.Once
}

func (s stoppedStream) Attend(p attention.Partial, q device.Tensor, first int, shape attention.Shape, blocks []attention.KV) {
	s.stop.Do(func() { time.Sleep(1500 * time.Millisecond) })
	s.Stream.Attend(p, q, first, shape, blocks)
}

func TestWhatIsMeasuredOfAStoppedProcessIsMeasuredAgain(t *testing.T) {
	d := cpu.New(1)
	defer d.Close()
	s, stop, others := processor(d), new(sync.Once), 0
	s.Another = func() device.Device {
		if others++; others == 1 { // to which the others are compared
			return cpu.New(1)
		}
		return stopped{cpu.New(1), stop}
	}
	m, err := Measure(s)
	if err != nil {
		t.Fatal(err)
	}
	if once := 1 + len(m.Rates.Crowd); others != 2*once {
		t.Errorf("%d other devices were made, want %d, twice", others, once)
	}
}

// fake is a device whose operations take no time and may fail.
type fake struct {
	device.Host
	ops   *atomic.Int64
	fault error
}

func (f fake) Name() string                                         { return "fake" }
func (f fake) Check(attention.Format, attention.Shape) error        { return nil }
func (f fake) Load(m device.Matrix) (device.Matrix, error)          { return m, nil }
func (f fake) Unload(device.Matrix)                                 {}
func (f fake) LoadExperts(e device.Experts) (device.Experts, error) { return e, nil }
func (f fake) UnloadExperts(device.Experts)                         {}
func (f fake) NewStream() device.Stream                             { return fakeStream{f} }
func (f fake) Close() error                                         { return nil }

// fakeStream is its stream.
type fakeStream struct{ fake }

func (f fake) did()                                                              { f.ops.Add(1) }
func (f fakeStream) Embed(device.Tensor, device.Matrix, []int32)                 { f.did() }
func (f fakeStream) RMSNorm(_, _ device.Tensor, _ []float32, _ float32)          { f.did() }
func (f fakeStream) MatMul(_, _ device.Tensor, _ device.Matrix)                  { f.did() }
func (f fakeStream) Add(_, _ device.Tensor)                                      { f.did() }
func (f fakeStream) AddBias(device.Tensor, []float32)                            { f.did() }
func (f fakeStream) Rope(device.Tensor, int, device.Tensor, device.Tensor, bool) { f.did() }
func (f fakeStream) Append(*attention.KV, int, device.Tensor, device.Tensor)     { f.did() }
func (f fakeStream) Attend(attention.Partial, device.Tensor, int, attention.Shape, []attention.KV) {
	f.did()
}
func (f fakeStream) Merge(_, _ attention.Partial)              { f.did() }
func (f fakeStream) Finish(device.Tensor, attention.Partial)   { f.did() }
func (f fakeStream) SwiGLU(_, _, _ device.Tensor)              { f.did() }
func (f fakeStream) Route(device.Routing, device.Tensor, bool) { f.did() }
func (f fakeStream) Experts(_, _ device.Tensor, _ device.Routing, _ *device.Experts, _ []float32) {
	f.did()
}
func (f fakeStream) Argmax([]int32, device.Tensor)  { f.did() }
func (f fakeStream) Reset(attention.Partial)        { f.did() }
func (f fakeStream) Write(device.Tensor, []float32) { f.did() }
func (f fakeStream) Upload(b []byte) []byte         { return b }
func (f fakeStream) Download(b []byte) []byte       { return b }
func (f fakeStream) Close() error                   { return nil }
func (f fakeStream) Wait() error                    { return f.fault }

func TestADeviceThatFailsIsNotMeasured(t *testing.T) {
	broken := errors.New("the device was taken away")
	_, err := Measure(Subject{Device: fake{ops: new(atomic.Int64), fault: broken},
		Bandwidth: func([]byte, time.Duration) (float64, error) { return 1e9, nil }, Memory: 1 << 20, KVHeads: KVHeads, HeadDim: HeadDim})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestCompilingTakesNoTimeOfMeasuring(t *testing.T) {
	ops := func(compiling time.Duration) int64 {
		d := fake{ops: new(atomic.Int64)}
		compiled := false
		_, err := Measure(Subject{Device: d, Memory: 1 << 20, KVHeads: KVHeads, HeadDim: HeadDim, Alike: true,
			Bandwidth: func([]byte, time.Duration) (float64, error) {
				if !compiled {
					time.Sleep(compiling)
				}
				compiled = true
				return 1e9, nil
			}})
		if err != nil && !strings.Contains(err.Error(), "rates") { // a device whose operations take no time has no rates
			t.Fatal(err)
		}
		return d.ops.Load()
	}
	if at, late := ops(0), ops(Limit+50*time.Millisecond); late < at/10 {
		t.Errorf("%d operations in a measurement before which kernels are compiled for long, %d where they are not", late, at)
	}
}

// idler is a bench of a device that does nothing.
func idler(arena int) *bench {
	return newBench(Subject{Device: fake{ops: new(atomic.Int64)}, KVHeads: KVHeads, HeadDim: HeadDim}, make([]byte, arena), time.Now())
}

func TestSharesThatRiseBecomeTheirMean(t *testing.T) {
	for _, c := range []struct{ given, want []float64 }{
		{[]float64{0.5}, []float64{0.5}},
		{[]float64{1, 0.5, 0}, []float64{1, 0.5, 0}},
		{[]float64{1, 0.25, 0.75, 0.5}, []float64{1, 0.5, 0.5, 0.5}},
		{[]float64{0.25, 0.5, 0.75}, []float64{0.5, 0.5, 0.5}},
		{[]float64{1, 0, 0.5, 1, 0}, []float64{1, 0.5, 0.5, 0.5, 0}},
	} {
		got := slices.Clone(c.given)
		if falling(got); !slices.Equal(got, c.want) {
			t.Errorf("%v falls as %v, want %v", c.given, got, c.want)
		}
	}
}

func TestOnlyDecodeIsMeasuredAgain(t *testing.T) {
	known := someMeasured().Rates
	known.Memory.Weights, known.Cache.Weights = [6]float64{1, 2, 3, 4, 5, 6}, [6]float64{2, 3, 4, 5, 6, 7}
	known.Rows = [7]float64{3, 4, 5, 6, 7, 8, 9}
	d := cpu.New(1)
	defer d.Close()
	r, err := Again(known, d)
	if err != nil {
		t.Fatal(err)
	}
	if r.Memory == known.Memory || r.Cache == known.Cache {
		t.Errorf("measured again, rates are what they were: %+v", r)
	}
	if r.Memory.Weights != known.Memory.Weights || r.Cache.Weights != known.Cache.Weights || r.PrefillProduct != known.PrefillProduct || r.PrefillPacked != known.PrefillPacked || r.PrefillAttend != known.PrefillAttend || r.Rows != known.Rows || r.Crowd != known.Crowd || r.Cached != known.Cached {
		t.Errorf("what was not measured has changed: %+v", r)
	}
	if r, err := Again(known, struct{ device.Device }{d}); err == nil || r != known { // whose memory is not known to be the host's
		t.Errorf("of a device that is no processor: %v, %+v", err, r)
	}
	broken := errors.New("the device was taken away")
	if r, err := Again(known, fake{ops: new(atomic.Int64), fault: broken}); !errors.Is(err, broken) || r != known {
		t.Errorf("of a device that fails: %v, %+v", err, r)
	}
}

func TestTheCachesShareLiesBetweenTheirTimeAndThatOfMemory(t *testing.T) {
	for _, c := range []struct{ fast, slow, took, want float64 }{{1, 3, 1, 1}, {1, 3, 3, 0}, {1, 3, 2, 0.5}, {1, 3, 0.5, 1}, {1, 3, 4, 0}, {2, 2, 3, 1}} {
		if got := share(c.fast, c.slow, c.took); got != c.want {
			t.Errorf("%v s, where the caches take %v and memory %v, is a share of %v, want %v", c.took, c.fast, c.slow, got, c.want)
		}
	}
}

// Processors learn slowly what is read again: the first times round say nothing.
func TestWhatIsSettledIsNotTheFirstTimesRound(t *testing.T) {
	b := idler(1 << 20)
	b.deadline = time.Now().Add(time.Hour)
	runs := 0
	took := b.settled(2, func() {
		if runs++; runs <= 2*fewPasses/2 {
			time.Sleep(2 * time.Millisecond)
		}
	})
	if took >= 1e-3 || runs < 2*fewPasses {
		t.Errorf("%v s after %d runs", took, runs)
	}
}

func TestCachesAreSteadyWhenTheyKeepNoMore(t *testing.T) {
	const fast, slow = 5.0, 10.0
	rounds := func(kept func(round int) float64) int {
		var all []float64
		for n := 0; n < 200; n++ {
			noise := 0.02 * float64(n*7919%5-2) / 2 // of both signs, as on a machine that others share
			all = append(all, slow-(slow-fast)*kept(n)+noise)
			if steady(all) {
				return n + 1
			}
		}
		return 200
	}
	if n := rounds(func(int) float64 { return 0 }); n != 2*fewPasses {
		t.Errorf("of what is not kept there were %d rounds", n)
	}
	for _, slowly := range []float64{16, 32, 64} { // as many rounds until all is kept
		if n := rounds(func(n int) float64 { return min(float64(n)/slowly, 1) }); n < int(slowly) || n > int(slowly)+20 {
			t.Errorf("of what is kept after %v rounds there were %d", slowly, n)
		}
	}
}

func TestOnceTimeIsUpEachOperationRunsOnce(t *testing.T) {
	b := idler(1 << 20)
	b.deadline = time.Now().Add(-time.Second)
	runs := 0
	op := func() { runs++ }
	if s := b.seconds(time.Hour, op); !(s > 0) || runs != 1 {
		t.Errorf("%v s after %d runs", s, runs)
	}
	b.deadline = time.Now().Add(time.Hour)
	if s := b.seconds(0, op); !(s > 0) || runs < 1+fewSamples {
		t.Errorf("in time, %v s after %d runs", s, runs)
	}
}

func TestKernelsReadAsManyBytesAsTheySay(t *testing.T) {
	const size = 4 << 20
	b := idler(2 * size)
	defer b.close()
	for name, op := range map[string]func(){
		"layer": b.layer(size), "product": b.product(size), "attention": b.attend(size, 2, attention.F16),
		"attention, q8": b.attend(size, 2, attention.Q8), "attention, q4": b.attend(size, 2, attention.Q4),
	} {
		b.at = 0
		op()
		if b.at > size || b.at < size*98/100 {
			t.Errorf("a %s of %d bytes reads %d", name, size, b.at)
		}
	}
}

func TestThisMachineHasAnIdentity(t *testing.T) {
	id, err := Identify("cpu (1 thread, avx2)", "1")
	if err != nil {
		t.Fatal(err)
	}
	if id.CPU == "" || id.CPUs == "" || id.Memory <= 0 || id.System != runtime.GOOS+"/"+runtime.GOARCH || id.Method == 0 {
		t.Errorf("%+v", id)
	}
	if again, err := Identify("cpu (1 thread, avx2)", "1"); err != nil || again != id {
		t.Errorf("then %+v, %v", again, err)
	}
	if first, second := Machine(), Machine(); first != second {
		t.Errorf("the machine is %s and %s", first, second)
	}
}

func TestRatesAreTypicalOfThePassesAndCanBe(t *testing.T) {
	twice, once, odd := someMeasured().Rates, someMeasured().Rates, someMeasured().Rates
	for i, v := range twice.Numbers() {
		*v *= 2
		*odd.Numbers()[i] *= 100
	}
	for _, v := range twice.Numbers() {
		*v = float64(float32(*v))
	}
	r := median([]placement.Rates{odd, once, twice})
	if r != twice {
		t.Errorf("of 1, 2 and 100 times the rates, typical is %+v", r)
	}
	var noise placement.Rates
	for i, v := range noise.Numbers() {
		*v = float64(1+(i*7)%5) / 10 // rises and falls
	}
	noise.PrefillProduct, noise.PrefillAttend = 1e9, 1e9
	if r := median([]placement.Rates{noise}); r.Check() != nil {
		t.Errorf("%v: %+v", r.Check(), r)
	}
}
