package actors

import (
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/admission"
	"github.com/orrery-ai/orrery/placement"
)

// AdmissionError says that a sequence cannot be opened now, for want of memory that is promised to nobody.
type AdmissionError struct {
	Tokens     int           // that it might have come to
	FreeTokens int           // that a sequence could come to in what is free
	Open       int           // sequences that hold their share
	Waiting    int           // that wait for one, and stand before this one
	Waited     time.Duration // how long it did, if it was allowed to
	Cause      error         // set where it is not the model's own memory: a node is short of what it has promised
}

func (e *AdmissionError) Error() string {
	if e.Cause != nil {
		return e.Cause.Error()
	}
	waited := ""
	if e.Waited > 0 {
		waited = fmt.Sprintf(" after %v", e.Waited.Round(time.Millisecond))
	}
	return fmt.Sprintf("no room for a sequence of %d tokens%s: KV cache for %d is free, %d sequences are open, %d wait: close one, ask for a smaller context, or load the model with more sequences",
		e.Tokens, waited, e.FreeTokens, e.Open, e.Waiting)
}

// Unwrap is the cause.
func (e *AdmissionError) Unwrap() error { return e.Cause }

// maxOpen bounds the sequences that are open, whatever memory there is.
const maxOpen = 1 << 12

// waitingSequence is one that stands at the desk.
type waitingSequence struct {
	*openSequence
	opener *actor.PID
	since  time.Time
}

// ask brings a sequence to the desk.
func (c *conductor) ask(ctx actor.Context, msg *openSequence) {
	if c.broken != nil {
		ctx.Respond(c.broken)
		return
	}
	w := &waitingSequence{msg, ctx.Sender(), time.Now()}
	request := admission.Request{ID: msg.id, Needs: c.needs(msg.tokens), Until: w.since.Add(c.spec.WaitTimeout)}
	verdict := admission.TooMany
	if c.desk.Open()+c.desk.Waiting() < maxOpen {
		verdict = c.desk.Ask(request)
	}
	switch verdict {
	case admission.Admitted:
		c.open(ctx, w)
	case admission.Waits:
		c.waiting[msg.id] = w
	default:
		ctx.Respond(c.noRoom(w, c.desk.Waiting()))
	}
}

// admitted opens those for whom there is room now.
func (c *conductor) admitted(ctx actor.Context, ids []uint64) {
	for _, id := range ids {
		w := c.waiting[id]
		delete(c.waiting, id)
		c.open(ctx, w)
	}
}

// leave gives back what a sequence was promised, or its place in the queue.
func (c *conductor) leave(ctx actor.Context, id uint64) {
	delete(c.waiting, id)
	c.admitted(ctx, c.desk.Leave(id))
}

// expire lets go who has waited for too long.
func (c *conductor) expire(ctx actor.Context, now time.Time) {
	expired, admitted := c.desk.Expire(now)
	for i, id := range expired {
		w := c.waiting[id]
		delete(c.waiting, id)
		e := c.noRoom(w, i)
		e.Waited = now.Sub(w.since)
		ctx.Send(w.opener, e)
	}
	c.admitted(ctx, admitted)
}

// needs is what a sequence of up to so many tokens may hold on each node, in bytes.
func (c *conductor) needs(tokens int) []int64 {
	needs := make([]int64, len(c.spec.Nodes))
	for n, pairs := range c.policy.Most(c.modes, tokens) {
		needs[n] = int64(pairs) * c.pairBytes
	}
	return needs
}

func (c *conductor) noRoom(w *waitingSequence, before int) *AdmissionError {
	return &AdmissionError{Tokens: w.tokens, FreeTokens: c.freeTokens(), Open: c.desk.Open(), Waiting: before}
}

// freeTokens is the context of the longest sequence that would be admitted if nobody waited.
func (c *conductor) freeTokens() int {
	block := c.spec.BlockTokens
	least, most := 0, (c.spec.Context+block-1)/block // in blocks: least fits
	for least < most {
		middle := (least + most + 1) / 2
		if c.desk.Fits(c.needs(middle * block)) {
			least = middle
		} else {
			most = middle - 1
		}
	}
	return min(least*block, c.spec.Context)
}

// possibleModes is which modes a sequence may ever be in.
func (s *Spec) possibleModes() (modes []placement.Mode) {
	for m := placement.Pipeline; m <= placement.Ring; m++ {
		if s.Refused[m] == "" {
			modes = append(modes, m)
		}
	}
	return modes
}
