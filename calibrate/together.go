package calibrate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/placement"
)

// Sitting is when a node attends to keys and values in turn with others of its machine, and when with all of
// them at once: how much they slow each other down is what the memory that they share cannot serve. It is
// divided into slots of a [SlotTime]. Each round begins with one for all, and then has one for each.
type Sitting struct {
	Nodes int // on the machine, at most MaxTogether
	Turn  int // of this one among them, from 0
}

const (
	// MaxTogether bounds the nodes of a machine that are measured together.
	MaxTogether = 16
	// SlotTime is how long a slot is.
	SlotTime = 40 * time.Millisecond
	// togetherRounds is how many slots there are of each kind.
	togetherRounds = 3
	// TogetherIn is how long after it was asked a node begins: until then it takes memory to read.
	TogetherIn = fillTime + 200*time.Millisecond
	// sliceBytes is what is attended to between two looks at the clock.
	sliceBytes = 1 << 20
)

// Time bounds the whole of it.
func (s Sitting) Time() time.Duration {
	return TogetherIn + time.Duration(togetherRounds*(1+s.Nodes))*SlotTime
}

func (s Sitting) check() error {
	if s.Nodes < 1 || s.Nodes > MaxTogether || s.Turn < 0 || s.Turn >= s.Nodes {
		return fmt.Errorf("a sitting of %d nodes at the turn of %d: there may be %d", s.Nodes, s.Turn, MaxTogether)
	}
	return nil
}

// Together sits: it attends, and returns how many times longer that takes while the others do it too. All nodes
// of the sitting must be asked within a few milliseconds.
func Together(s Sitting, d device.Device) (slower float64, err error) {
	start := time.Now().Add(TogetherIn)
	if err := s.check(); err != nil {
		return 0, err
	}
	arena, free, err := newArena(d, 8*placement.TogetherBytes, fillTime)
	if err != nil {
		return 0, err
	}
	defer free()
	b := newBench(Subject{Device: d, KVHeads: KVHeads, HeadDim: HeadDim}, arena, start.Add(2*s.Time()))
	defer func() { err = errors.Join(err, b.close()) }()
	attend := b.attend(sliceBytes, int(placement.Intensities[0]), attention.F16)
	if *b.err == nil {
		attend() // with cold code
		b.finish()
	}
	var all, alone []float64
	slots := 1 + s.Nodes
	for round := 0; round < togetherRounds && *b.err == nil; round++ {
		at := start.Add(time.Duration(round*slots) * SlotTime)
		all = append(all, b.during(at, attend))
		alone = append(alone, b.during(at.Add(time.Duration(1+s.Turn)*SlotTime), attend))
	}
	if *b.err != nil {
		return 0, nil // close gives it
	}
	return slowdown(all, alone)
}

var errNoTime = errors.New("the machine had no time to measure how its nodes slow each other down")

// slowdown is the median over the rounds of how much faster one was alone. Where a speed is 0 there was no time
// to measure it.
func slowdown(all, alone []float64) (float64, error) {
	var factors []float64
	for i := range all {
		if all[i] > 0 && alone[i] > 0 {
			factors = append(factors, alone[i]/all[i])
		}
	}
	if len(factors) == 0 {
		return 0, errNoTime
	}
	slices.Sort(factors)
	return max(factors[len(factors)/2], 1), nil
}

// during is how often op can be done in a second, in the middle half of a slot: the others' may begin and end
// a little earlier or later.
func (b *bench) during(slot time.Time, op func()) float64 {
	time.Sleep(time.Until(slot))
	from, to, end := slot.Add(SlotTime/4), slot.Add(3*SlotTime/4), slot.Add(SlotTime)
	var times int
	var began, ended time.Time
	for now := time.Now(); now.Before(end); {
		op()
		b.finish()
		after := time.Now()
		if !now.Before(from) && now.Before(to) {
			if times++; times == 1 {
				began = now
			}
			ended = after
		}
		now = after
	}
	if times == 0 {
		return 0
	}
	return float64(times) / ended.Sub(began).Seconds()
}
