package trace

import (
	"iter"

	"github.com/orrery-ai/orrery/transport"
)

// driverProcess is the index of the driver among the processes; a node's is its own.
const driverProcess = -1

// message is a sending, and the waiting that it ended.
type message struct {
	from, to     int // processes
	sent, waited *Span
}

// messageKey tells messages apart, but for those that are alike in all of this. They come in the order in which
// they were sent.
type messageKey struct {
	lane      transport.Purpose
	from, to  int
	seq, step uint64
	layer     int32
}

// key is the span's, if its messages go from one process to another. A step's message has no layer where it is sent.
func (s *Span) key(from, to int) messageKey {
	return messageKey{s.Lane, from, to, s.Seq, s.Step, max(s.Layer, 0)}
}

// messages yields those of which both ends were recorded, in the order of the processes that waited.
func (t *Trace) messages() iter.Seq[message] {
	return func(yield func(message) bool) {
		sent := map[messageKey][]*Span{}
		for p, n := range t.processes() {
			for i := range n.Spans {
				if s := &n.Spans[i]; s.Kind == Send {
					k := s.key(p, processOf(s.Peer))
					sent[k] = append(sent[k], s)
				}
			}
		}
		for p, n := range t.processes() {
			for i := range n.Spans {
				s := &n.Spans[i]
				k := s.key(processOf(s.Peer), p)
				if s.Kind != Wait || s.Bytes == 0 || len(sent[k]) == 0 {
					continue
				}
				m := message{from: k.from, to: p, sent: sent[k][0], waited: s}
				sent[k] = sent[k][1:]
				if !yield(m) {
					return
				}
			}
		}
	}
}

func processOf(peer int16) int {
	if peer == Client {
		return driverProcess
	}
	return int(peer)
}
