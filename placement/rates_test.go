package placement

import (
	"math"
	"strings"
	"testing"
)

// rated is rates of bytes/s from memory and from the caches, with nothing to begin an operation, and caches
// of 16 MiB.
func rated(memory, cache float64) Rates {
	kernels := func(speed float64) Kernels {
		var c Curve
		for i, size := range CurveSizes {
			c[i] = size / speed
		}
		return Kernels{Layer: c, Product: c, Attend: c, Intense: [3]float64{2, 4, 8}}
	}
	return Rates{Memory: kernels(memory), Cache: kernels(cache), Cached: [7]float64{1, 1, 0, 0, 0, 0, 0}, Kept: [4]float64{1, 1, 1, 1},
		PrefillProduct: 1e11, PrefillAttend: 5e10, Crowd: [3]float64{1.5, 2, 3}, Packed: [2]float64{1, 1}}
}

// fourLayers is a model of four layers of 1 MiB and 1 KiB of KV a token, on nodes of the given rates; attention
// does two operations for each byte.
func fourLayers(mode Mode, rates ...Rates) (Request, Work) {
	m := Model{Name: "small", HeadBytes: 1 << 20}
	for range 4 {
		m.LayerBytes, m.KVBytesPerToken = append(m.LayerBytes, 1<<20), append(m.KVBytesPerToken, 1<<10)
	}
	w := workOf(m)
	for l := range w.PairFLOPs {
		w.PairFLOPs[l] = 2 << 10
	}
	r := Request{Model: m, Mode: mode, Context: 4096, Sequences: 1, Chunk: 256, BlockTokens: 256}
	for i, rate := range rates {
		r.Nodes = append(r.Nodes, Node{Name: string(rune('a' + i)), Memory: gib, Bandwidth: 1e9, Rates: rate})
	}
	return r, w
}

func TestACurveIsAStraightLineBetweenItsPointsAndBeyond(t *testing.T) {
	c := Curve{10, 20, 30, 70, 150}
	for bytes, want := range map[float64]float64{
		64 << 10: 10, 512 << 10: 20, 288 << 10: 15, 4 << 20: 30, 18 << 20: 50, 32 << 20: 70, 144 << 20: 110, 480 << 20: 230, 0: 10 - 10.0/7,
	} {
		if got := c.At(bytes); !near(got, want) {
			t.Errorf("%.0f bytes take %v, want %v", bytes, got, want)
		}
	}
	if got, want := c.Rate(), float64(224<<20)/80; !near(got, want) {
		t.Errorf("the largest operations read %v bytes/s, want %v", got, want)
	}
	if got := (&Curve{1, 100, 1000, 10000, 100000}).At(0); got != 0 {
		t.Errorf("nothing takes %v s", got)
	}
}

func TestMeasuredRatesTakeNoEfficiency(t *testing.T) {
	for _, mode := range []Mode{Pipeline, Pooled, Ring} {
		r, w := fourLayers(mode, rated(1e9, 1e9), rated(2e9, 2e9))
		a, b := costOf(t, r, w, mesh(2, thunderbolt), 1), costOf(t, r, w, mesh(2, thunderbolt), 0.1)
		if a.Step(4000) != b.Step(4000) || a.Prefill(4000) != b.Prefill(4000) {
			t.Errorf("%v: %+v and %+v", mode, a.Step(4000), b.Step(4000))
		}
		r.Nodes[1].Rates, r.Nodes[1].FLOPS = Rates{}, 1e12 // described, beside one that was measured
		a, b = costOf(t, r, w, mesh(2, thunderbolt), 1), costOf(t, r, w, mesh(2, thunderbolt), 0.1)
		if mode != Ring && a.Step(4000).Weights >= b.Step(4000).Weights {
			t.Errorf("%v: the efficiency of a described node changes nothing", mode)
		}
	}
}

func TestAStepGoesByTheRates(t *testing.T) {
	r, w := fourLayers(Pipeline, rated(1e9, 1e9))
	s := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000)
	if want := float64(5<<20) / 1e9; !near(s.Weights, want) {
		t.Errorf("weights take %v s, want %v", s.Weights, want)
	}
	if want := 4 * 1000 * 1024 / 1e9; !near(s.KV, want) {
		t.Errorf("KV takes %v s, want %v", s.KV, want)
	}
	for l := range w.PairFLOPs {
		w.PairFLOPs[l] *= 3 // six operations for each byte: between twice and four times as long
	}
	if got, want := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000).KV, 3*s.KV; !near(got, want) {
		t.Errorf("with six operations for each byte KV takes %v s, want %v", got, want)
	}
}

func TestNodesOfOneMachineShareItsCaches(t *testing.T) {
	// 5 MiB of weights on one node and 4 KiB of KV a token on both: at 2048 tokens 13 MiB, which the caches have
	// room for, at 4096 tokens 21 MiB together and less than 16 MiB on each.
	r, w := fourLayers(Ring, rated(1e9, 4e9), rated(1e9, 4e9))
	r.Nodes[0].Machine, r.Nodes[1].Machine = "x", "y"
	r.Nodes[0].CPUs, r.Nodes[1].CPUs = "0", "1"
	apart := costOf(t, r, w, mesh(2, Link{Bandwidth: 1e9}), 1)
	r.Nodes[1].Machine = "x"
	together := costOf(t, r, w, mesh(2, Link{Bandwidth: 1e9}), 1)
	if a, b := apart.Step(2048), together.Step(2048); a != b {
		t.Errorf("13 MiB take %+v and %+v", a, b)
	}
	if a, b := apart.Step(4096).KV, together.Step(4096).KV; !(b > 1.1*a) {
		t.Errorf("KV takes %v s on two machines and %v on one", a, b)
	}
	for i := range r.Nodes {
		r.Nodes[i].Machine = "" // not known: they share nothing
	}
	if a, b := apart.Step(4096), costOf(t, r, w, mesh(2, Link{Bandwidth: 1e9}), 1).Step(4096); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
}

func TestCachesForgetWhatIsNotReadForLong(t *testing.T) {
	rates := rated(1e9, 4e9)
	r, w := fourLayers(Pipeline, rates)
	lasting := costOf(t, r, w, mesh(1, Link{}), 1)
	if s := lasting.Step(1024); !near(s.KV, 4<<20/4e9) {
		t.Errorf("from caches that keep everything KV takes %v s", s.KV)
	}
	rates.Kept = [4]float64{}
	r.Nodes[0].Rates = rates
	if s := costOf(t, r, w, mesh(1, Link{}), 1).Step(1024); !near(s.KV, 4<<20/4e9) {
		t.Errorf("one node that reads in turn, as was measured, takes %v s", s.KV)
	}
	// Half is gone after 4 ms and all after 16. Two nodes take turns, 2.36 ms each from caches, so that each one's
	// part is read less often than in turn.
	rates.Kept = [4]float64{0.9, 0.5, 0.2, 0}
	r, w = fourLayers(Pipeline, rates, rates)
	for i := range r.Nodes {
		r.Nodes[i].Machine, r.Nodes[i].CPUs = "x", string(rune('0'+i))
	}
	free, slow := costOf(t, r, w, mesh(2, Link{Bandwidth: 1e12}), 1), costOf(t, r, w, mesh(2, Link{Latency: 4e-3, Bandwidth: 1e12}), 1)
	if a, b := free.Step(1024), slow.Step(1024); !(b.KV > 1.5*a.KV) {
		t.Errorf("KV takes %v s, and %v when other things take 8 ms of a step", a.KV, b.KV)
	}
	for after, want := range map[float64]float64{0: 1, 1e-3: 0.95, 2e-3: 0.9, 3e-3: 0.7, 12e-3: 0.1, 16e-3: 0, 1: 0} {
		if got := rates.kept(after); !near(got, want) {
			t.Errorf("after %v s %v is there, want %v", after, got, want)
		}
	}
	rates.Kept[3] = 0.25
	if got := rates.kept(32e-3); !near(got, 0.0625) {
		t.Errorf("after twice the longest time %v is there", got)
	}
}

func TestHoldersOnTheSameProcessorsSlowEachOther(t *testing.T) {
	same := rated(1e9, 1e9)
	r, w := fourLayers(Pooled, same, same, same)
	r.Context = 3840 // of which each has five blocks
	for i := range r.Nodes {
		r.Nodes[i].Machine, r.Nodes[i].CPUs = "x", "0-1"
	}
	alone := func() Step {
		apart := r
		apart.Nodes = append([]Node(nil), r.Nodes...)
		for i := range apart.Nodes {
			apart.Nodes[i].CPUs = string(rune('0' + i))
		}
		return costOf(t, apart, w, mesh(3, thunderbolt), 1).Step(3840)
	}()
	crowded := costOf(t, r, w, mesh(3, thunderbolt), 1).Step(3840)
	if !near(crowded.KV, 2*alone.KV) || crowded.Weights != alone.Weights {
		t.Errorf("three at once take %+v, one of three %+v", crowded, alone)
	}
	r.Nodes[2].CPUs = "2"
	two := costOf(t, r, w, mesh(3, thunderbolt), 1).Step(3840)
	if !near(two.KV, 1.5*alone.KV) || !near(two.Exchange, alone.Exchange) {
		t.Errorf("two of three at once take %+v, want KV of %v", two, 1.5*alone.KV)
	}
	r.Mode = Pipeline // one at a time
	a := costOf(t, r, w, mesh(3, thunderbolt), 1).Step(3840)
	for i := range r.Nodes {
		r.Nodes[i].CPUs = ""
	}
	if b := costOf(t, r, w, mesh(3, thunderbolt), 1).Step(3840); a != b {
		t.Errorf("in pipeline %+v and %+v", a, b)
	}
}

// The next step is there when the token is; but to tell who drives of the token takes the node's time. Where its device computes meanwhile that counts as far as it takes longer, with
// recording.
func TestANodeThatComputesAllLayersTellsOfEachStep(t *testing.T) {
	for _, telling := range []float64{1e-6, 0.5} {
		for _, record := range []float64{0, 1e-6} {
			r, w := fourLayers(Pipeline, rated(1e9, 1e9))
			r.Nodes[0].Rates.Record = record
			c := costOf(t, r, w, mesh(1, thunderbolt), 1)
			before := c.Step(1000).Seconds()
			if err := c.DriveFrom([]Link{{Bandwidth: 1, Telling: telling}}, 0); err != nil {
				t.Fatal(err)
			}
			want := before + telling
			if record > 0 {
				want = max(before, 4*record+telling)
			}
			if got := c.Step(1000).Seconds(); !near(got, want) {
				t.Errorf("recorded in %v s, and told of in %v s: a step of %v s, want %v", record, telling, got, want)
			}
		}
	}
}

func TestWhoDrivesTheStepsHandsThemOver(t *testing.T) {
	r, w := fourLayers(Pipeline, rated(1e9, 1e9), rated(1e9, 1e9))
	c := costOf(t, r, w, mesh(2, thunderbolt), 1)
	before := c.Step(1000)
	one := thunderbolt.transfer(float64(w.HiddenBytes))
	if !near(before.HandOver, 2*one) {
		t.Errorf("two owners hand over in %v s", before.HandOver)
	}
	if err := c.DriveFrom([]Link{{Latency: 1, Bandwidth: 1}, {Latency: 2, Bandwidth: 1}}, 0.5); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Step(1000).HandOver, one+1+0.5+2; !near(got, want) {
		t.Errorf("with who drives them: %v s, want %v", got, want)
	}
	for _, bad := range [][]Link{nil, {{Bandwidth: 1}}, {{Bandwidth: 1}, {Latency: -1, Bandwidth: 1}}, {{Bandwidth: 1}, {Latency: 1, Sending: 2, Bandwidth: 1}},
		{{Bandwidth: 1}, {Bandwidth: 1, Telling: -1}}, {{Bandwidth: 1, Telling: math.NaN()}, {Bandwidth: 1}}} {
		if err := c.DriveFrom(bad, 0); err == nil {
			t.Errorf("ways %v were accepted", bad)
		}
	}
	for _, turn := range []float64{-1, math.NaN(), math.Inf(1)} {
		if err := c.DriveFrom([]Link{thunderbolt, thunderbolt}, turn); err == nil {
			t.Errorf("a turn of %v s was accepted", turn)
		}
	}
}

func TestQueriesGoOutOneAfterAnother(t *testing.T) {
	link := Link{Latency: 100e-6, Bandwidth: 1e12, Sending: 40e-6}
	same := rated(1e9, 1e9)
	for nodes, want := range map[int]float64{1: 0, 2: 200e-6, 3: 240e-6, 4: 280e-6} {
		rates := make([]Rates, nodes)
		for i := range rates {
			rates[i] = same
		}
		r, w := fourLayers(Pooled, rates...)
		if got := costOf(t, r, w, mesh(nodes, link), 1).Exchange(); math.Abs(got-want) > 1e-6 {
			t.Errorf("an exchange of %d nodes takes %v s, want %v", nodes, got, want)
		}
	}
}

func TestAnExchangeHidesBehindWhoHasMoreToAttendTo(t *testing.T) {
	slow, fast := rated(1e9, 1e9), rated(1e12, 1e12)
	r, w := fourLayers(Ring, slow, fast)
	c := costOf(t, r, w, mesh(2, Link{Latency: 50e-6, Bandwidth: 1e12}), 1)
	// The owner has half of 4 KiB tokens, 2 ms, in which the other one has answered long ago.
	if s := c.Step(4096); s.Exchange != 0 || !(s.KV > 7e-3) {
		t.Errorf("a step takes %+v", s)
	}
	far := costOf(t, r, w, mesh(2, Link{Latency: 500e-6, Bandwidth: 1e12}), 1)
	if s := far.Step(2 * r.BlockTokens); !(s.Exchange > 0) {
		t.Errorf("with a block each, and far from each other, a step takes %+v", s)
	}
}

func TestWhoHasNoBlockYetIsNotAsked(t *testing.T) {
	same := rated(1e9, 1e9)
	for _, mode := range []Mode{Pooled, Ring} {
		r, w := fourLayers(mode, same, same, same)
		c := costOf(t, r, w, mesh(3, Link{Latency: 50e-6, Bandwidth: 1e12}), 1)
		if s := c.Step(r.BlockTokens - 1); s.Exchange != 0 || !near(s.KV, float64(r.BlockTokens-1)*4096/1e9) {
			t.Errorf("%v: without a whole block a step takes %+v", mode, s)
		}
		one, all := c.Step(2*r.BlockTokens-1), c.Step(3*r.BlockTokens)
		if !(one.Exchange < all.Exchange) {
			t.Errorf("%v: with one block %+v, with one for each %+v", mode, one, all)
		}
		if mode == Ring && one.Exchange != 0 {
			t.Errorf("the first block is at the owner, and others are asked: %+v", one)
		}
	}
}

func TestAByteOfQuantizedKeysTakesAsLongAsWasMeasured(t *testing.T) {
	rates := rated(1e9, 1e9)
	rates.Packed = [2]float64{1.25, 2}
	r, w := fourLayers(Pipeline, rates)
	for bits, scale := range map[int]float64{0: 1, 32: 1, 16: 1, 8: 1.25, 4: 2} {
		w.KVBits = bits
		if got, want := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000).KV, scale*4*1000*1024/1e9; !near(got, want) {
			t.Errorf("with %d bits KV takes %v s, want %v", bits, got, want)
		}
	}
	w.KVBits = 8
	for l := range w.PairFLOPs {
		w.PairFLOPs[l] *= 2 * 16 / 8.5 // four operations for each byte, if they were halves
	}
	if got, want := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000).KV, 2*1.25*4*1000*1024/1e9; !near(got, want) {
		t.Errorf("with four operations KV takes %v s, want %v", got, want)
	}
	w.KVBits = 5
	if _, err := NewCost(r, place(t, r), w, mesh(1, Link{}), 1); err == nil || !strings.Contains(err.Error(), "KVBits 5") {
		t.Errorf("error %v", err)
	}
}

func TestAStepHasItsOwnersTurnsAndAnExchangeWhatDevicesTake(t *testing.T) {
	const turn, gate, latency = 1e-3, 0.25e-3, 0.125e-3
	slow := rated(1e9, 1e9)
	slow.Turn = turn
	ahead := slow
	ahead.Gate = gate
	links := mesh(2, Link{Latency: latency, Bandwidth: 1e18})
	for _, c := range []struct {
		name     string
		a, b     Rates
		turns    float64
		exchange float64 // of devices
	}{
		{"processors", rated(1e9, 1e9), rated(1e9, 1e9), 0, 0},
		{"both ahead", ahead, ahead, 2 * turn, 2 * gate},
		{"one ahead", ahead, slow, 2 * turn, 2 * turn},
		{"beside a processor", ahead, rated(1e9, 1e9), turn, turn},
	} {
		r, w := fourLayers(Pooled, c.a, c.b)
		cost := costOf(t, r, w, links, 1)
		if got, want := cost.Step(1).HandOver, c.turns+2*latency; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: hand-overs take %v s, want %v", c.name, got, want)
		}
		if got, want := cost.Exchange(), c.exchange+2*latency; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: an exchange takes %v s, want %v", c.name, got, want)
		}
	}
}

func TestExchangesOfDevicesGoByHowLongTheyTake(t *testing.T) {
	const ahead, latency = 20e-6, 1e-3
	rates := rated(1e9, 1e9)
	rates.Gate = 0.25e-3
	r, w := fourLayers(Pooled, rates, rates)
	w.QueryBytes, w.PartialBytes = AheadBytes, AheadBytes
	links := mesh(2, Link{Latency: latency, Bandwidth: 1e9, Ahead: ahead})
	if got := costOf(t, r, w, links, 1).Exchange(); got != ahead {
		t.Errorf("an exchange takes %v s, want %v", got, ahead)
	}
	w.QueryBytes = AheadBytes + 1000
	if got, want := costOf(t, r, w, links, 1).Exchange(), ahead+1e-6; !near(got, want) {
		t.Errorf("one of a kB more takes %v s, want %v", got, want)
	}
	links[0][1].Ahead = -1
	if _, err := NewCost(r, place(t, r), w, links, 1); err == nil {
		t.Error("an exchange takes less than no time")
	}
}

func TestAStepThatIsRecordedAheadTakesTheLongerOfRecordingAndComputing(t *testing.T) {
	const turn = 1e-3
	for _, record := range []float64{1e-6, 1e-2} {
		rates := rated(1e9, 1e9)
		rates.Turn, rates.Record = turn, record
		r, w := fourLayers(Pipeline, rates)
		s := costOf(t, r, w, mesh(1, Link{}), 1).Step(1000)
		if want := max(s.Weights+s.KV, 4*record); !near(s.Seconds(), want) {
			t.Errorf("recording a layer in %v s, a step takes %+v, want %v s", record, s, want)
		}
		r, w = fourLayers(Pooled, rates, rates)
		if s := costOf(t, r, w, mesh(2, Link{Bandwidth: 1e18}), 1).Step(1000); !(s.HandOver >= 2*turn) {
			t.Errorf("of two owners neither waits for its device: %+v", s)
		}
	}
}

func TestOfStepsThatAreRecordedAheadTwoAreUnderWay(t *testing.T) {
	rates := rated(1e12, 1e12) // so that the device takes no time to speak of
	rates.Turn, rates.Record, rates.Begin = 100e-6, 10e-6, 60e-6
	r, w := fourLayers(Pipeline, rates)
	c := costOf(t, r, w, mesh(1, Link{}), 1)
	device := func(s Step) float64 { return s.Weights + s.KV }
	if s, want := c.Step(1), 100e-6; !near(s.Seconds(), max(want, (200e-6+device(c.Step(1)))/2)) {
		t.Errorf("a step takes %+v, want half of %v s and of what the device takes", s, want)
	}
	if err := c.DriveFrom([]Link{{Latency: 50e-6, Bandwidth: 1e9}}, 300e-6); err != nil {
		t.Fatal(err)
	}
	if s := c.Step(1); !near(s.Seconds(), (600e-6+device(s))/2) {
		t.Errorf("who drives takes part in every second step: %+v", s)
	}
}

func TestRatesThatCannotBeAreNamed(t *testing.T) {
	if r := rated(1e9, 2e9); r.Check() != nil || !r.Known() {
		t.Fatalf("%v", r.Check())
	}
	if r := (Rates{}); r.Check() != nil || r.Known() {
		t.Error("no rates are rates")
	}
	for want, spoil := range map[string]func(*Rates){
		"Memory.Layer":   func(r *Rates) { r.Memory.Layer[2] = r.Memory.Layer[1] },
		"Memory.Product": func(r *Rates) { r.Memory.Product[0] = -1 },
		"Cache.Attend":   func(r *Rates) { r.Cache.Attend[3] = math.Inf(1) },
		"Cache.Intense":  func(r *Rates) { r.Cache.Intense[0] = 0.5 },
		"Memory.Intense": func(r *Rates) { r.Memory.Intense[2] = 1 },
		"Cached":         func(r *Rates) { r.Cached[1] = 1.5 },
		"Kept":           func(r *Rates) { r.Kept = [4]float64{0.5, 0.6, 0, 0} },
		"PrefillProduct": func(r *Rates) { r.PrefillProduct = 0 },
		"PrefillPacked":  func(r *Rates) { r.PrefillPacked = -1 },
		"PrefillAttend":  func(r *Rates) { r.PrefillAttend = math.NaN() },
		"Packed":         func(r *Rates) { r.Packed[1] = 0 },
		"Turn":           func(r *Rates) { r.Turn = -1 },
		"Record":         func(r *Rates) { r.Record = math.NaN() },
		"Gate":           func(r *Rates) { r.Gate = math.Inf(1) },
		"Crowd":          func(r *Rates) { r.Crowd[0] = math.NaN() },
	} {
		rates := rated(1e9, 2e9)
		spoil(&rates)
		if err := rates.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		r, w := fourLayers(Pipeline, rates)
		p := place(t, r)
		if _, err := NewCost(r, p, w, mesh(1, Link{}), 1); err == nil || !strings.Contains(err.Error(), "node a: ") {
			t.Errorf("%s: want the node, got %v", want, err)
		}
	}
	for i, v := range (&Rates{}).Numbers() {
		rates := rated(1e9, 2e9)
		if *rates.Numbers()[i] = math.NaN(); rates.Check() == nil {
			t.Errorf("number %d may be no number; %v", i, *v)
		}
	}
}

func TestRatesTravelByValue(t *testing.T) {
	r := rated(1e9, 2e9)
	var got Rates
	if err := got.Take(r.Values()); err != nil || got != r {
		t.Errorf("%v: %+v", err, got)
	}
	if err := got.Take(r.Values()[1:]); err == nil {
		t.Error("one value too few was taken")
	}
	bad := r.Values()
	bad[0] = -1
	if err := got.Take(bad); err == nil {
		t.Error("an operation that takes less than no time was taken")
	}
}

func TestWhatStrangersDriveOutOfCachesIsToldFromWhatIsLeft(t *testing.T) {
	// Caches of 100 MB, into which strangers put 10 GB/s.
	const room, strangers, speed = 100e6, 10e9, 10e9
	r := rated(speed, speed)
	for i, size := range CacheSizes {
		r.Cached[i] = min(max(1.5-(size+strangers*size/speed)/room, 0), 1)
	}
	for i, after := range KeptAfter {
		r.Kept[i] = min(max(1.5-(KeptBytes+strangers*(after+KeptBytes/speed))/room, 0), 1)
	}
	c := newCaches(&r)
	if c.strangers < 0.7*strangers || c.strangers > 1.4*strangers {
		t.Errorf("strangers put %v bytes/s into the caches, and are taken to put %v", strangers, c.strangers)
	}
	for i, size := range CacheSizes {
		if got := c.share(size, size/speed); math.Abs(got-r.Cached[i]) > 1e-9 || math.Abs(c.share(size, 0)-got) > 1e-9 {
			t.Errorf("%v bytes, read in turn as they were when it was measured: %v, not %v", size, got, r.Cached[i])
		}
	}
	// Several who read at once are done sooner, so that strangers have had less time.
	if turn, once := c.share(64<<20, 64<<20/speed), c.share(64<<20, 64<<20/speed/3); !(once > turn+0.2) {
		t.Errorf("read in turn %v is there, and read three times as fast %v", turn, once)
	}
	r.Kept = [4]float64{1, 1, 1, 1}
	if got := newCaches(&r); got.strangers != 0 || !near(got.share(64<<20, 1), r.Cached[3]) {
		t.Errorf("who is alone: %+v", got)
	}
}
