package engine

import (
	"bytes"
	"fmt"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/trace"
	"github.com/orrery-ai/orrery/transport"
)

// ask sends a layer's queries to a node that holds earlier blocks.
func (e *Engine) ask(h header, node, layer int, queries ...[]byte) error {
	h.Layer = uint32(layer)
	began := e.work.trace.Now()
	if err := e.lanes.queryOut[node].Send(e.deadline(), h.encode(&e.work.head), queries...); err != nil {
		return fmt.Errorf("query to %s: %w", e.cfg.Nodes[node], err)
	}
	bytes := 0
	for _, q := range queries {
		bytes += len(q)
	}
	sent(e.work.trace, &h, transport.Query, node, layer, began, bytes)
	return nil
}

// mergePart waits for one holder's answer.
func (e *Engine) mergePart(h *header, node, layer int, merged attention.Partial) error {
	return e.answered(h, node, layer, func(got header, payload []byte) error { return e.mergePayload(got, payload, merged) })
}

// answered waits for one holder's answer, for take. Answers to a step that failed earlier are passed over.
func (e *Engine) answered(h *header, node, layer int, take func(got header, payload []byte) error) error {
	deadline, began := e.deadline(), e.work.trace.Now()
	for {
		msg, err := e.lanes.partialIn[node].Receive(deadline)
		if err != nil {
			return err
		}
		got, payload, err := decode(msg.Bytes)
		if err == nil && (got.Step != h.Step || got.Seq != h.Seq || int(got.Layer) != layer) {
			msg.Release()
			continue
		}
		if err == nil {
			waited(e.work.trace, &got, transport.Partial, node, layer, began, len(msg.Bytes))
			err = take(got, payload)
		}
		msg.Release()
		return err
	}
}

func (e *Engine) mergePayload(got header, payload []byte, merged attention.Partial) error {
	part, err := e.partialIn(got, payload, merged.Rows)
	if err != nil {
		return err
	}
	began := e.work.trace.Now()
	e.work.stream.Merge(merged, part)
	e.computed(trace.Merge, &got, int(got.Layer), began)
	return nil
}

// partialIn is the answer to so many queries in a message, for the device, or why there is none.
func (e *Engine) partialIn(got header, payload []byte, rows int) (attention.Partial, error) {
	switch got.Kind {
	case kindFail:
		return attention.Partial{}, parseReason(payload)
	case kindPartial:
		return partialOf(e.work.stream.Upload(payload), rows, e.shape)
	}
	return attention.Partial{}, fmt.Errorf("a message of kind %d is not a partial", got.Kind)
}

// RemoteError is a failure that another node reported.
type RemoteError struct {
	Lost string // the node whose loss is the cause, or ""
	Text string
}

func (r *RemoteError) Error() string { return r.Text }

func parseReason(payload []byte) *RemoteError {
	lost, text, _ := bytes.Cut(payload, []byte{0})
	return &RemoteError{Lost: string(lost), Text: string(text)}
}
