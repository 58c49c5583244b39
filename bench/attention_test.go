package bench

import (
	"context"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/attention"
)

func TestAttentionIsMeasuredInEveryFormatAtEveryDepth(t *testing.T) {
	told := 0
	o := Attending{Shape: attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 0.125}, Depths: []int{70, 200}, Formats: []attention.Format{attention.F16, attention.Q8, attention.Q4},
		Batches: []int{1, 60}, Threads: 2, Block: 64, Repeat: 1, Done: func(Attended) { told++ }, cold: 1 << 20, run: time.Millisecond}
	all, err := o.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 12 || told != 12 {
		t.Fatalf("%d results, %d told of", len(all), told)
	}
	for i, a := range all {
		if a.Depth != o.Depths[i/6] || a.Format != o.Formats[i/2%3] || a.Batch != o.Batches[i%2] {
			t.Errorf("result %d: %+v", i, a)
		}
		if a.Bytes != int64(a.Depth*o.Shape.KVBytes(a.Format)) || a.Seconds.Median <= 0 || a.OfRead.Median <= 0 || a.OfPeak.Median <= 0 || a.ReadRate() <= 0 || a.Rate() <= 0 ||
			a.Speed().Median <= 0 || a.Speed().Min > a.Speed().Max {
			t.Errorf("%+v", a)
		}
	}
	if curves := AttendedCurves(all); len(curves) != 6 || len(curves[0].Points) != 2 || curves[1].Name != "f16, 60 tokens" {
		t.Errorf("%+v", curves)
	}
	// The 60 last of 70 tokens see 11, 12, ... 70 keys.
	if want := 4.0 * 4 * 64 * (11 + 70) * 60 / 2; all[1].Operations != want {
		t.Errorf("%g operations, not %g", all[1].Operations, want)
	}
}

func TestAttentionThatCannotBeIsRefused(t *testing.T) {
	fine := Attending{Shape: attention.Shape{Heads: 4, KVHeads: 2, HeadDim: 64}, Depths: []int{70}, Formats: []attention.Format{attention.Q8}, Batches: []int{1}, Threads: 1, Block: 64, Repeat: 1}
	for what, change := range map[string]func(*Attending){
		"no depths":                   func(o *Attending) { o.Depths = nil },
		"no keys":                     func(o *Attending) { o.Depths = []int{0} },
		"no formats":                  func(o *Attending) { o.Formats = nil },
		"a format that is not there":  func(o *Attending) { o.Formats = []attention.Format{99} },
		"no batches":                  func(o *Attending) { o.Batches = nil },
		"more queries than keys":      func(o *Attending) { o.Batches = []int{71} },
		"no threads":                  func(o *Attending) { o.Threads = 0 },
		"no room in blocks":           func(o *Attending) { o.Block = 0 },
		"no runs":                     func(o *Attending) { o.Repeat = 0 },
		"heads that cannot be shared": func(o *Attending) { o.Shape.Heads = 3 },
		"no heads of keys":            func(o *Attending) { o.Shape.KVHeads = 0 },
	} {
		o := fine
		change(&o)
		if _, err := o.Run(context.Background()); err == nil {
			t.Error(what)
		}
	}
}
