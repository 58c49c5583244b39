package cluster

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"
	"pgregory.net/rapid"

	"github.com/orrery-ai/orrery/placement"
)

func TestMetadataSurvivesPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 20, 40)
		m := meta{Protocol, text.Draw(t, "cluster"), Node{
			Role:      Role(rapid.IntRange(0, 1).Draw(t, "role")),
			Transport: text.Draw(t, "transport"),
			Memory:    rapid.Int64Min(0).Draw(t, "memory"),
			Promised:  rapid.Int64Min(0).Draw(t, "promised"),
			Short:     rapid.Int64Min(0).Draw(t, "short"),
			Bandwidth: rapid.Float64Range(0, math.MaxFloat64).Draw(t, "bandwidth"),
			Cores:     rapid.IntRange(0, maxCores).Draw(t, "cores"),
			Device:    text.Draw(t, "device"),
			Version:   text.Draw(t, "version"),
			Machine:   text.Draw(t, "machine"),
			CPUs:      text.Draw(t, "CPUs"),
			Rates:     drawRates(t),
		}}
		b, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeMeta(b)
		if err != nil || got != m {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
	})
}

// drawRates draws numbers that singles hold, as the metadata has them.
func drawRates(t *rapid.T) (r placement.Rates) {
	if !rapid.Bool().Draw(t, "measured") {
		return r
	}
	last := 0.0
	for _, v := range r.Numbers() { // whole numbers, which singles hold: rising from one to the next
		last += float64(rapid.IntRange(1, 9).Draw(t, "step"))
		*v = last
	}
	for i := range r.Cached {
		r.Cached[i] = float64(rapid.IntRange(0, 8).Draw(t, "cached")) / 8
	}
	r.Kept = [4]float64{0.75, 0.5, 0.25, 0}
	r.Crowd = [3]float64{1, 1.5, 2}
	return r
}

func TestRatesThatCannotBeAreNotSent(t *testing.T) {
	m := meta{Protocol, "test", Node{Rates: placement.Rates{PrefillProduct: -1}}}
	if _, err := m.encode(); err == nil || !strings.Contains(err.Error(), "rates") {
		t.Errorf("error %v", err)
	}
}

func TestMetadataIsHeldToItsLimit(t *testing.T) {
	m := meta{Protocol, "test", Node{Device: "x"}}
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	room := memberlist.MetaMaxSize - len(b) - 1 // the length of Device takes a second byte
	m.node.Device += strings.Repeat("x", room)
	if b, err = m.encode(); err != nil || len(b) != memberlist.MetaMaxSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	m.node.Device += "x"
	if _, err = m.encode(); err == nil || !strings.Contains(err.Error(), "device") {
		t.Errorf("one byte too many gives %v", err)
	}
}

func TestMetadataOfAnotherProtocolStillNamesItsCluster(t *testing.T) {
	m, err := decodeMeta(append([]byte{77, 4}, "prodwhatever comes later"...))
	if err != nil || m.protocol != 77 || m.cluster != "prod" {
		t.Errorf("%+v, %v", m, err)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	m := meta{Protocol, "test", config("a").Self}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	for i, v := range m.node.Rates.Numbers() {
		*v = float64(1 + i)
	}
	clear(m.node.Rates.Cached[:])
	clear(m.node.Rates.Kept[:])
	if b, err = m.encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add(append(bytes.Clone(b), 0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			if !errors.Is(err, errMeta) {
				t.Fatalf("%v is not errMeta", err)
			}
			return
		}
		if m.protocol != Protocol || len(b) > memberlist.MetaMaxSize {
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatalf("decoded %+v cannot be packed: %v", m, err)
		}
		if got, err := decodeMeta(again); err != nil || got != m {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
	})
}
