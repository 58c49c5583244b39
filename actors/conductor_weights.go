package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

// loadEverywhere asks every node for every layer.
func (c *conductor) loadEverywhere(ctx actor.Context) {
	for n := range c.spec.Nodes {
		c.loadLayers(ctx, n)
	}
}

func (c *conductor) loadLayers(ctx actor.Context, n int) {
	if c.loaded[n] || c.loading[n] {
		return
	}
	c.loading[n] = true
	all := residence.Span{First: 0, End: c.spec.Model.Config.Layers}
	ctx.Send(layerShardPID(c.spec.Nodes[n], c.handle.model), &proto.LoadLayers{Layers: spanToProto(all)})
}

func (c *conductor) layersLoaded(ctx actor.Context, msg *proto.LayersLoaded) {
	n := int(msg.Node)
	if n >= len(c.loaded) {
		return
	}
	c.loading[n] = false
	c.loaded[n] = msg.Error == ""
	if f, ok := c.predict.(*forecast); ok && c.loaded[n] {
		f.missing[n] = 0
	}
	for id := range c.seqs {
		s := c.seqs[id]
		if s.opener != nil && msg.Error == "" && len(s.unopened) == 0 && !c.ringNeedsLayers(s) {
			ctx.Send(s.opener, &sequenceReady{s.id})
			s.opener = nil
		}
		if s.opener != nil && msg.Error != "" && s.machine.Epoch().Mode == placement.Ring {
			c.closeSequence(ctx, id, fmt.Errorf("node %s: %s", c.nodeName(msg.Node), msg.Error))
			continue
		}
		c.onSequence(ctx, id, func(s *sequence) {
			if msg.Error == "" {
				s.machine.WeightsReady(n)
			} else {
				s.machine.WeightsFailed(n, fmt.Sprintf("node %s: %s", c.nodeName(msg.Node), msg.Error))
			}
		})
	}
}
