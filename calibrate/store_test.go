package calibrate

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/orrery-ai/orrery/placement"
)

var someIdentity = Identity{CPU: "Z80", CPUs: "0-1", Device: "cpu (2 threads, go)", Memory: 1 << 16, System: "cp/m", Version: "1", Method: method}

func someMeasured() Measured {
	var c placement.Curve
	for i, size := range placement.CurveSizes {
		c[i] = 1e-6 + size/1e10
	}
	k := placement.Kernels{Layer: c, Product: c, Attend: c, Intense: [3]float64{1, 2, 3}}
	return Measured{Bandwidth: 1e10, Rates: placement.Rates{Memory: k, Cache: k, PrefillProduct: 1e9, PrefillPacked: 2e9, PrefillAttend: 1e9, Crowd: [3]float64{1, 2, 3}, Packed: [2]float64{1.25, 2}}}
}

// counted is a measuring that counts itself.
type counted struct{ times atomic.Int64 }

func (c *counted) measure() (Measured, error) {
	c.times.Add(1)
	return someMeasured(), nil
}

// logged is a store whose log can be read.
func logged(dir string) (Store, *bytes.Buffer) {
	var b bytes.Buffer
	return Store{Dir: dir, Logger: slog.New(slog.NewTextHandler(&b, nil))}, &b
}

func TestWhatWasMeasuredIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	var c counted
	for range 3 {
		s, log := logged(dir)
		m, err := s.GetOr(t.Context(), someIdentity, c.measure)
		if err != nil || m != someMeasured() {
			t.Fatalf("%+v, %v", m, err)
		}
		if strings.Contains(log.String(), "WARN") {
			t.Error(log)
		}
	}
	if n := c.times.Load(); n != 1 {
		t.Errorf("measured %d times", n)
	}
	files, err := filepath.Glob(filepath.Join(dir, "calibration-*"))
	if err != nil || len(files) != 1 || filepath.Ext(files[0]) != ".json" {
		t.Fatalf("files %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestAnotherIdentityIsMeasuredAnew(t *testing.T) {
	s, _ := logged(t.TempDir())
	var c counted
	for i, change := range []func(*Identity){
		func(*Identity) {}, func(i *Identity) { i.CPU += "+" }, func(i *Identity) { i.CPUs = "0" }, func(i *Identity) { i.Device += "+" },
		func(i *Identity) { i.Memory++ }, func(i *Identity) { i.System += "+" }, func(i *Identity) { i.Version = "2" }, func(i *Identity) { i.Method++ },
	} {
		id := someIdentity
		change(&id)
		if _, err := s.GetOr(t.Context(), id, c.measure); err != nil {
			t.Fatal(err)
		}
		if n := c.times.Load(); n != int64(i+1) {
			t.Errorf("after %+v it was measured %d times", id, n)
		}
	}
}

func TestAFileThatCannotBeUsedIsReplacedWithALogLine(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"Empty":         func([]byte) []byte { return nil },
		"CutOff":        func(b []byte) []byte { return b[:len(b)/2] },
		"NoJSON":        func([]byte) []byte { return []byte("calibration") },
		"OtherHardware": func(b []byte) []byte { return bytes.Replace(b, []byte("Z80"), []byte("Z8000"), 1) },
		"NoSpeed": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"bandwidth": 10000000000`), []byte(`"bandwidth": 0`), 1)
		},
		"NoRates": func(b []byte) []byte { return append(b[:bytes.Index(b, []byte(`"rates"`))], []byte(`"rates":{}}`)...) },
		"Disturbed": func(b []byte) []byte {
			b = bytes.Replace(b, []byte(`"others": 0`), []byte(`"others": 0.5`), 1)
			return regexp.MustCompile(`"measured_at": "20..`).ReplaceAll(b, []byte(`"measured_at": "2001`))
		},
		"TooLong": func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), maxRecord)...) },
	} {
		t.Run(name, func(t *testing.T) {
			s, log := logged(t.TempDir())
			if err := s.Put(someIdentity, someMeasured()); err != nil {
				t.Fatal(err)
			}
			good, err := os.ReadFile(s.path(someIdentity))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.path(someIdentity), spoil(bytes.Clone(good)), 0o600); err != nil {
				t.Fatal(err)
			}
			var c counted
			for range 2 {
				if m, err := s.GetOr(t.Context(), someIdentity, c.measure); err != nil || m != someMeasured() {
					t.Fatalf("%+v, %v", m, err)
				}
			}
			if n := c.times.Load(); n != 1 {
				t.Errorf("measured %d times", n)
			}
			if !strings.Contains(log.String(), s.path(someIdentity)) {
				t.Errorf("the log does not name the file: %s", log)
			}
		})
	}
}

func TestWithoutAPlaceToKeepItEveryStartMeasures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file} {
		s, log := logged(dir)
		var c counted
		for range 2 {
			if m, err := s.GetOr(t.Context(), someIdentity, c.measure); err != nil || m != someMeasured() {
				t.Fatalf("%+v, %v", m, err)
			}
		}
		if n := c.times.Load(); n != 2 {
			t.Errorf("in %q: measured %d times", dir, n)
		}
		if dir != "" && !strings.Contains(log.String(), "cannot be kept") {
			t.Errorf("log: %s", log)
		}
	}
}

func TestADisturbedMeasurementIsGoodForAWhile(t *testing.T) {
	s, log := logged(t.TempDir())
	times := 0
	for range 2 {
		m, err := s.GetOr(t.Context(), someIdentity, func() (Measured, error) {
			times++
			m := someMeasured()
			m.Others = 0.5
			return m, nil
		})
		if err != nil || !m.Disturbed() {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	if times != 1 || !strings.Contains(log.String(), "busy=50%") {
		t.Errorf("measured %d times; log: %s", times, log)
	}
}

func TestThoseWhoStartTogetherMeasureOnce(t *testing.T) {
	dir := t.TempDir()
	var c counted
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			s, _ := logged(dir)
			if _, err := s.GetOr(t.Context(), someIdentity, c.measure); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := c.times.Load(); n != 1 {
		t.Errorf("measured %d times", n)
	}
}

func TestWaitingForOthersToMeasureEndsWithTheContext(t *testing.T) {
	s, _ := logged(t.TempDir())
	done, err := s.turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	gaveUp := errors.New("the start was given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gaveUp)
	var c counted
	if _, err := s.GetOr(ctx, someIdentity, c.measure); !errors.Is(err, gaveUp) || c.times.Load() != 0 {
		t.Errorf("error %v, measured %d times", err, c.times.Load())
	}
}

func FuzzDecodeRecord(f *testing.F) {
	s := Store{Dir: f.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	if err := s.Put(someIdentity, someMeasured()); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(s.path(someIdentity))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:100])
	f.Add([]byte(`{"identity":null,"rates":{"Memory":{"Layer":[1,2]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b, someIdentity)
		if err != nil {
			return
		}
		if !(m.Bandwidth > 0) || !m.Rates.Known() || m.Rates.Check() != nil {
			t.Errorf("%+v was accepted", m)
		}
	})
}
