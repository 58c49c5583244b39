package engine

import (
	"fmt"

	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/residence"
)

// Fill begins to make up the keys and values of a part of a sequence, which this node is to hold, and
// returns; OnCopied says when it is done, as if the part had been copied here.
func (e *Engine) Fill(s *kvcache.Sequence, batch uint64, id uint32, r residence.Rect, seed uint64) error {
	whole := residence.Span{First: 0, End: e.layers}
	if r.Area() <= 0 || r.Layers.Intersect(whole) != r.Layers {
		return fmt.Errorf("a part of %v cannot be made up: the model has %d layers", r, e.layers)
	}
	e.register.Lock()
	defer e.register.Unlock()
	if e.closed.Load() {
		return fmt.Errorf("the model is being unloaded from %s", e.self())
	}
	e.wg.Go(func() {
		bytes, err := s.Fill(batch, r, seed, e.closed.Load)
		e.cfg.OnCopied(s.ID, batch, id, bytes, err)
	})
	return nil
}
