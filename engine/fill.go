package engine

import (
	"fmt"

	"github.com/orrery-ai/orrery/kvcache"
	"github.com/orrery-ai/orrery/residence"
)

// Fill begins to make up the keys and values of parts of a sequence, which this node is to hold, and returns;
// OnCopied says of each when it is done, as if it had been copied here.
func (e *Engine) Fill(s *kvcache.Sequence, batch uint64, ids []uint32, parts []residence.Rect, seed uint64) error {
	whole := residence.Span{First: 0, End: e.layers}
	for _, r := range parts {
		if r.Area() <= 0 || r.Layers.Intersect(whole) != r.Layers {
			return fmt.Errorf("a part of %v cannot be made up: the model has %d layers", r, e.layers)
		}
	}
	e.register.Lock()
	defer e.register.Unlock()
	if e.closed.Load() {
		return fmt.Errorf("the model is being unloaded from %s", e.self())
	}
	e.wg.Go(func() {
		f := kvcache.NewFiller(s.Geometry(), seed)
		for i, r := range parts {
			bytes, err := s.Fill(batch, r, f, e.closed.Load)
			e.cfg.OnCopied(s.ID, batch, ids[i], bytes, err)
			if err != nil {
				return // the batch is given up
			}
		}
	})
	return nil
}
