package actors

import (
	"testing"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/residence"
)

// With no byte more than what placement counts, a whole context is computed and decoded in every mode: prefill
// waits for blocks to spread rather than fail.
func TestAWholeContextFitsInWhatWasPromised(t *testing.T) {
	const context = 256
	prompt := prompt(context - 56)
	want := alone(t, prompt, 56)
	for _, mode := range modes {
		r := newRig(t, 3)
		s := r.spec(mode)
		s.Context, s.MaxSequences = context, 1
		ahead := placement.Staged(mode, s.Chunk, s.BlockTokens, len(s.Nodes))
		s.Ahead = map[placement.Mode]int{mode: ahead}
		p, err := s.policy()
		if err != nil {
			t.Fatal(err)
		}
		layer := r.model.Config.KVBytesPerToken(s.KV) // of a token
		held := make([]int64, len(s.Nodes))
		for _, piece := range p.Pieces(residence.Span{First: 0, End: context}) {
			held[piece.Node] += int64(piece.Tokens.Len())
		}
		for n, layers := range s.Layers {
			kv := context * int64(layers.Len())
			if mode != placement.Pipeline {
				computes := layers.Len()
				if mode == placement.Ring {
					computes = r.model.Config.Layers
				}
				kv = held[n]*int64(r.model.Config.Layers) + int64(ahead*computes)
			}
			s.Memory[n] = NodeMemory{KV: kv * layer, MostKV: kv * layer}
		}
		c := r.load(s)
		same(t, mode.String(), r.generate(c, r.sequence(c, mode), Job{IDs: prompt, MaxTokens: 56}), want)
	}
}
