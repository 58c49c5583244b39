package actors

import (
	"fmt"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
)

func spanToProto(s residence.Span) *proto.Span {
	return &proto.Span{First: uint32(s.First), End: uint32(s.End)}
}

func spanFromProto(s *proto.Span) residence.Span {
	return residence.Span{First: int(s.GetFirst()), End: int(s.GetEnd())}
}

func rectToProto(r residence.Rect) *proto.Rect {
	return &proto.Rect{Layers: spanToProto(r.Layers), Tokens: spanToProto(r.Tokens)}
}

func rectFromProto(r *proto.Rect) residence.Rect {
	return residence.Rect{Layers: spanFromProto(r.GetLayers()), Tokens: spanFromProto(r.GetTokens())}
}

func epochToProto(e *residence.Epoch) *proto.Epoch {
	p := &proto.Epoch{Number: e.Number, Mode: uint32(e.Mode), Covered: uint32(e.Covered)}
	for _, o := range e.Owners {
		p.Owners = append(p.Owners, &proto.Owner{Layers: spanToProto(o.Layers), Node: uint32(o.Node)})
	}
	for _, h := range e.Held {
		p.Held = append(p.Held, &proto.Holding{Rect: rectToProto(h.Rect), Node: uint32(h.Node)})
	}
	return p
}

// epochFromProto checks what came off the wire: an epoch that does not tile the cache is refused.
func epochFromProto(p *proto.Epoch, layers, nodes int) (*residence.Epoch, error) {
	if p == nil {
		return nil, fmt.Errorf("the message has no epoch")
	}
	e := &residence.Epoch{Number: p.Number, Mode: placement.Mode(p.Mode), Covered: int(p.Covered)}
	for _, o := range p.Owners {
		e.Owners = append(e.Owners, residence.Owner{Layers: spanFromProto(o.Layers), Node: int(o.Node)})
	}
	for _, h := range p.Held {
		e.Held = append(e.Held, residence.Holding{Rect: rectFromProto(h.Rect), Node: int(h.Node)})
	}
	return e, e.Validate(layers, nodes)
}
