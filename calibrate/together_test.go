package calibrate

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/orrery-ai/orrery/device/cpu"
)

func TestNodesOfAMachineMeasureTogether(t *testing.T) {
	const nodes = 3
	d := cpu.New(1)
	defer d.Close()
	var all sync.WaitGroup
	for turn := range nodes {
		all.Go(func() {
			slower, err := Together(Sitting{Nodes: nodes, Turn: turn}, d)
			if !errors.Is(err, errNoTime) && (err != nil || !(slower >= 1)) { // tests of other packages may have the machine
				t.Errorf("node %d: %v times slower, %v", turn, slower, err)
			}
		})
	}
	all.Wait()
}

func TestTheSlowdownIsTheMedianOfTheRoundsThatWereMeasured(t *testing.T) {
	for _, c := range []struct {
		all, alone []float64
		want       float64
	}{
		{[]float64{5, 5, 5}, []float64{10, 9, 50}, 2},
		{[]float64{0, 5, 0}, []float64{10, 15, 50}, 3},
		{[]float64{5, 5, 5}, []float64{4, 4, 0}, 1}, // noise: others do not make it faster
	} {
		if got, err := slowdown(c.all, c.alone); got != c.want || err != nil {
			t.Errorf("%v together and %v alone: %v, %v, want %v", c.all, c.alone, got, err, c.want)
		}
	}
	if _, err := slowdown([]float64{0, 1, 1}, []float64{1, 0, 0}); err != errNoTime {
		t.Errorf("nothing was measured, and the error is %v", err)
	}
}

func TestADeviceThatFailsMeasuresNothingTogether(t *testing.T) {
	fault := errors.New("broken")
	if _, err := Together(Sitting{Nodes: 1}, fake{ops: new(atomic.Int64), fault: fault}); !errors.Is(err, fault) {
		t.Errorf("the error is %v", err)
	}
}

func TestASittingHasBounds(t *testing.T) {
	for _, s := range []Sitting{{}, {Nodes: MaxTogether + 1}, {Nodes: 2, Turn: 2}, {Nodes: 2, Turn: -1}} {
		if _, err := Together(s, fake{}); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
