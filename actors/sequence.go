package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/steering"
)

// sequence is what the conductor knows of one sequence.
type sequence struct {
	id          uint64
	machine     *residence.Machine
	limit       int          // tokens that it may come to
	kept        []int        // (layer, token) pairs that each node keeps for it
	lent        []int        // and those that it has for a switch beyond that
	opener      *actor.PID   // who waits for it to be open
	unopened    map[int]bool // nodes that have not made their shard
	job         *runningJob
	ended       bool    // the job needs no further step
	carry       []int32 // chosen, and not yet fed
	next        *nextToken
	relayed     []residence.Owner // between whom its last step went from device to device; nil if it did not
	position    int               // of the next token to hand to a step
	inFlight    int               // steps
	asked       *switchAsked
	filling     *fillAsked
	progress    time.Time // of copies, announcements and steps
	lastFailure string
	failed      error
	closed      bool            // but for steps that were in flight then
	pilot       *steering.Pilot // chooses its modes; nil: whoever uses it does
	told        told            // what it was told of last
	stalls      int             // how often copies failed that further steps have to wait for
}

// lending reports whether nodes were asked for memory for a switch, and have not answered.
func (s *sequence) lending() bool { return s.asked != nil && len(s.asked.lending) > 0 }

// held reports whether a switch keeps steps from beginning until it is in force, or refused.
func (s *sequence) held() bool { return s.lending() || s.asked != nil && s.asked.hold }

func newSequence(id uint64, m *residence.Machine, nodes int) *sequence {
	s := &sequence{id: id, machine: m, unopened: map[int]bool{}, progress: time.Now()}
	for n := range nodes {
		s.unopened[n] = true
	}
	return s
}

// nextToken is the token behind all that has been fed, which a step has chosen that followed the end of a job: a job
// that feeds nothing begins with it, if it samples alike.
type nextToken struct {
	token    int32
	sampling sampling.Params
}
