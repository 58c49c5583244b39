package metalkern

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
	"github.com/orrery-ai/orrery/sampling"
)

// TestTokensAreDrawnAsOnTheHost holds tokens to those of the host's sampler, for the same seeds and positions.
func TestTokensAreDrawnAsOnTheHost(t *testing.T) {
	dev := open(t)
	st := dev.NewStream().(device.Sampler)
	defer st.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	const positions = 12
	for _, n := range []int{7, 9001} {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64() * 3)
		}
		different := map[int32]bool{}
		for seed, p := range []sampling.Params{
			{Temperature: 1}, {Temperature: 0.7, TopP: 0.9}, {Temperature: 1.5, TopK: 40}, {Temperature: 1, MinP: 0.02}, {Temperature: 1.2, TopK: 100, TopP: 0.8, MinP: 0.01},
		} {
			p.Seed = uint64(seed)
			if !st.Draws(p, n) {
				t.Fatalf("%+v is not drawn", p)
			}
			logits, room := upload(st, 1, n, x), place(t, dev, positions).Floats(positions)
			for i := range positions {
				st.Draw(asInts(room[i:i+1]), logits, p, 100+i)
			}
			var s sampling.Sampler
			for i, got := range intsOf(finish(t, st, room)) {
				want, err := s.Sample(x, p, 100+i)
				if err != nil || got != want {
					t.Errorf("%d logits, %+v, position %d: token %d, on the host %d, %v", n, p, 100+i, got, want, err)
				}
				different[got] = true
			}
		}
		if len(different) < min(5, n/3) {
			t.Errorf("%d logits: only %d different tokens", n, len(different))
		}
	}
	bad := place(t, dev, 1).Floats(1)
	st.Draw(asInts(bad), upload(st, 1, 3, []float32{1, float32(math.NaN()), 2}), sampling.Params{Temperature: 1}, 0)
	if got := intsOf(finish(t, st, bad)); got[0] != -1 {
		t.Errorf("of NaN: %d", got[0])
	}
}

func TestWhatADeviceDoesNotDrawIsSaid(t *testing.T) {
	st := open(t).NewStream().(device.Sampler)
	defer st.Close()
	for _, p := range []sampling.Params{{}, {Temperature: 1e-9}, {Temperature: 1e9}, {Temperature: 1, TopK: -1}, {Temperature: 1, TopP: 2}} {
		if st.Draws(p, 100) {
			t.Errorf("%+v is drawn", p)
		}
	}
	if !st.Draws(sampling.Params{Temperature: 1}, 100) || st.Draws(sampling.Params{Temperature: 1}, 1<<20) {
		t.Error("the size of the vocabulary does not count as it should")
	}
	host := cpu.New(1)
	defer host.Close()
	processor := host.NewStream()
	defer processor.Close()
	if _, ok := processor.(device.Sampler); ok {
		t.Error("the CPU, of which logits are the host's, draws")
	}
}
