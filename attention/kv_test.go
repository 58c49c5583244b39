package attention

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A block that is closed early, or cut otherwise, must give the same bytes as one that was made so.
func TestWhatIsStoredOfATokenDoesNotDependOnItsBlock(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	const heads, tokens = 3, 5
	for _, f := range []Format{F16, F32, Q8, Q4} {
		for _, dim := range []int{16, 48, 64, 80, 128} {
			s := Shape{Heads: heads, KVHeads: heads, HeadDim: dim}
			block := func(capacity int) KV {
				half := s.BlockBytes(f, capacity) / 2
				return KV{Format: f, HeadDim: dim, Len: tokens, Cap: capacity, K: make([]byte, half), V: make([]byte, half)}
			}
			roomy, exact, packed := block(tokens+4), block(tokens), block(tokens)
			for h := range heads {
				for token := range tokens {
					x := random(r, dim)
					roomy.Put(roomy.K, h, token, x)
					exact.Put(exact.K, h, token, x)
				}
			}
			roomy.Gather(packed.K, roomy.K, heads, dim)
			if !bytes.Equal(packed.K, exact.K) {
				t.Errorf("%v, heads of %d: other bytes without the room behind", f, dim)
			}
			copied := make([]byte, len(exact.K))
			for h := range heads { // and one by one
				for token := range tokens {
					packed.Copy(copied, h, token, &roomy, roomy.K, h, token, dim)
				}
			}
			if !bytes.Equal(copied, exact.K) {
				t.Errorf("%v, heads of %d: other bytes copied token by token", f, dim)
			}
		}
	}
}

func TestSizesOfFormatsAreTheirBytes(t *testing.T) {
	s := Shape{Heads: 32, KVHeads: 8, HeadDim: 128}
	for f, token := range map[Format]int{F16: 4096, F32: 8192, Q8: 2176, Q4: 1152} {
		if got := s.KVBytes(f); got != token {
			t.Errorf("%v: %d bytes a token, not %d", f, got, token)
		}
		for _, tokens := range []int{8, 256} {
			if got := s.BlockBytes(f, tokens); got != tokens*token {
				t.Errorf("%v: %d bytes in %d tokens, not %d", f, got, tokens, tokens*token)
			}
		}
		if got, most := s.BlockBytes(f, 3), 3*token+2*8*30; got < 3*token || got > most {
			t.Errorf("%v: %d bytes in 3 tokens, not %d to %d", f, got, 3*token, most)
		}
	}
}

func TestFormatsAreKnownByName(t *testing.T) {
	for _, f := range []Format{F16, F32, Q8, Q4} {
		if got, err := ParseFormat(f.String()); err != nil || got != f {
			t.Errorf("%v is %v: %v", f, got, err)
		}
	}
	for _, name := range []string{"", "q9", "format 0"} {
		if f, err := ParseFormat(name); err == nil {
			t.Errorf("%q is %v", name, f)
		}
	}
	for f, dim := range map[Format]int{Q8: 20, Q4: 0, 0: 64, Q4 + 1: 64} {
		if f.Check(dim) == nil {
			t.Errorf("heads of %d in %v are accepted", dim, f)
		}
	}
}
