package trace

import (
	"iter"

	"github.com/orrery-ai/orrery/transport"
)

// driverProcess is the index of the driver among the processes; a node's is its own.
const driverProcess = -1

// message is a sending, and what shows that it came: the waiting that it ended, or its arrival.
type message struct {
	from, to   int // processes
	sent, came *Span
}

// interval is when it was on its way. Clocks that are off by a little must not make it come before it went.
func (m *message) interval() interval {
	came := m.came.Begin
	if m.came.Kind == Wait {
		came = m.came.End
	}
	return interval{m.sent.Begin, max(came, m.sent.Begin)}
}

// messageKey tells messages apart, but for those that are alike in all of this. They come in the order in which
// they were sent.
type messageKey struct {
	lane      transport.Purpose
	from, to  int
	seq, step uint64
	layer     int32
	first     uint32
}

// key is the span's, if its messages go from one process to another. A step's message has no layer where it is sent, and
// a result no tokens where it is received; of the blocks of a batch, several have the same layer.
func (s *Span) key(from, to int) messageKey {
	k := messageKey{lane: s.Lane, from: from, to: to, seq: s.Seq, step: s.Step, layer: max(s.Layer, 0)}
	if s.Lane == transport.KVMove {
		k.first = s.First
	}
	return k
}

// messages yields those that ended a waiting.
func (t *Trace) messages() iter.Seq[message] {
	return t.match(func(s *Span) bool { return s.Kind == Send }, func(s *Span) bool { return s.Kind == Wait && s.Bytes > 0 })
}

// moves yields the messages with KV blocks.
func (t *Trace) moves() iter.Seq[message] {
	return t.match(func(s *Span) bool { return s.Kind == Copy || s.Kind == Send && s.Lane == transport.KVRing }, func(s *Span) bool { return s.Kind == Arrive })
}

// match yields the messages of which both ends were recorded, in the order of the processes that they came to.
func (t *Trace) match(sends, comes func(*Span) bool) iter.Seq[message] {
	return func(yield func(message) bool) {
		sent := map[messageKey][]*Span{}
		for p, n := range t.processes() {
			for i := range n.Spans {
				if s := &n.Spans[i]; sends(s) {
					k := s.key(p, processOf(s.Peer))
					sent[k] = append(sent[k], s)
				}
			}
		}
		for p, n := range t.processes() {
			for i := range n.Spans {
				s := &n.Spans[i]
				k := s.key(processOf(s.Peer), p)
				if !comes(s) || len(sent[k]) == 0 {
					continue
				}
				m := message{from: k.from, to: p, sent: sent[k][0], came: s}
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
