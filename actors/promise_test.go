package actors

import (
	"testing"

	"github.com/orrery-ai/orrery/placement"
)

// With no byte more than what one sequence may need in a mode, and no more staged than a chunk, a whole context
// is computed and decoded: prefill waits for blocks to spread rather than fail.
func TestAWholeContextFitsInWhatWasPromised(t *testing.T) {
	const context = 256
	prompt := prompt(context - 56)
	want := alone(t, prompt, 56)
	for _, mode := range modes {
		r := newRig(t, 3)
		s := r.spec(mode)
		for _, m := range modes {
			if m != mode {
				s.Refused[m] = "not here"
			}
		}
		p, err := s.policy()
		if err != nil {
			t.Fatal(err)
		}
		for n, pairs := range p.Most([]placement.Mode{mode}, context) {
			s.Memory[n].KV = int64(pairs) * r.model.Config.KVBytesPerToken(s.KV)
		}
		c := r.load(s)
		same(t, mode.String(), r.generate(c, r.sequence(c, mode), Job{IDs: prompt, MaxTokens: 56}), want)
	}
}
