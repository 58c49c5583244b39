package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/trace"
)

// traced is what a LayerShard records of its engine, while somebody wants that.
type traced struct {
	recorder *trace.Recorder // nil: nothing is kept
	bytes    int64           // of the node's memory that it takes
	page     []trace.Span
}

// tracing answers who traces the model.
func (s *layerShard) tracing(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *proto.ReadClock:
		ctx.Respond(&proto.ClockRead{Nanoseconds: trace.Now()})
	case *proto.StartTrace:
		ctx.Respond(&proto.TraceSet{Error: errorText(s.startTrace(int(msg.Spans)))})
	case *proto.StopTrace:
		if s.engine != nil {
			s.engine.SetTrace(nil)
		}
		if msg.Forget {
			s.forgetTrace()
			return
		}
		ctx.Respond(&proto.TraceSet{})
	case *proto.ReadSpans:
		ctx.Respond(s.readSpans(msg.From))
	}
}

func (s *layerShard) startTrace(spans int) error {
	switch {
	case s.engine == nil || s.stopping:
		return fmt.Errorf("no model is loaded")
	case s.traced.recorder != nil:
		return fmt.Errorf("the model is being traced already")
	}
	r, err := trace.NewRecorder(spans)
	if err != nil {
		return err
	}
	bytes := trace.RecorderBytes(spans)
	if err := s.memory.Take(bytes); err != nil {
		return fmt.Errorf("room for %d spans: %w; ask for fewer", spans, err)
	}
	s.stats.lent.Add(bytes)
	s.traced = traced{recorder: r, bytes: bytes, page: make([]trace.Span, trace.PageSpans)}
	s.engine.SetTrace(r)
	return nil
}

func (s *layerShard) forgetTrace() {
	s.memory.Give(s.traced.bytes)
	s.stats.lent.Add(-s.traced.bytes)
	s.traced = traced{}
}

func (s *layerShard) readSpans(from uint64) *proto.SpansRead {
	t := &s.traced
	if t.recorder == nil {
		return &proto.SpansRead{Error: "the model is not being traced"}
	}
	n, err := t.recorder.Page(from, t.page)
	return &proto.SpansRead{Spans: trace.AppendSpans(nil, t.page[:n]), Dropped: t.recorder.Dropped(), Error: errorText(err)}
}
