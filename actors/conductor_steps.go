package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/trace"
)

// stepInFlight is a step that has been handed out.
type stepInFlight struct {
	seq     *sequence
	epoch   uint64
	end     int // tokens in the cache when it is done
	fed     int // of the job
	pieces  []residence.Piece
	waiting int // results to come
	token   int32
	since   time.Time
	began   int64  // on the trace's clock, if there is one
	wants   bool   // a token
	after   uint64 // the step that it follows, or 0
	leaves  bool   // its token to one that follows it
	each    bool   // all owners of layers say when it is done
	relayed bool   // so far all of them say that it went from device to device
	prompt  bool   // package batching counts it among the parts of prompts and their rounds
}

// nextStep says how the next of the tokens to feed are to be computed: how many, in a round of ring prefill or
// not, and whether one at a time as in decode.
func (c *conductor) nextStep(s *sequence) (n int, round, single bool) {
	j := s.job
	remaining, handed := len(j.pending), s.position-j.base
	single = j.OneByOne >= 0 && handed >= j.OneByOne
	if j.OneByOne > handed {
		remaining = min(remaining, j.OneByOne-handed)
	}
	n, round = c.limits.nextStep(s.machine.Epoch().Mode, s.position, remaining, single)
	return n, round, single
}

// follow begins the step behind the one whose token is waited for, where the nodes know that before it has been here ([lookahead]).
func (c *conductor) follow(ctx actor.Context, s *sequence) {
	j := s.job
	if j == nil || s.ended || s.held() || len(j.pending) > 0 || !c.prompts.Open() || !s.machine.CanStep() || !s.machine.Fits(s.position+1) {
		return
	}
	before := uint64(0)
	for n, step := range c.steps {
		switch {
		case step.seq != s || !step.wants:
		case before != 0 || step.pieces != nil:
			return
		default:
			before = n
		}
	}
	l := c.look(s)
	if before == 0 || !c.steps[before].leaves || !l.follows(c.steps[before].fed) {
		return
	}
	want := l.behind(j)
	step := c.newStep(s, s.machine.Step(s.position+1), 1, l.results(want), before)
	step.wants, step.each, step.relayed, step.leaves = true, want.Each, true, want.Followed
	owner := s.machine.Epoch().OwnerOf(0)
	err := c.handle.driver.Chunk(owner, s.id, c.last, step.epoch, s.position, make([]int32, 1), want)
	s.position++
	if err != nil {
		c.stepFailed(ctx, s, c.spec.Nodes[owner], engine.Lost(err), err)
	}
}

// issueChunk begins a step of one sequence; prompt says whether it was its prompt's turn, or its token's.
func (c *conductor) issueChunk(ctx actor.Context, s *sequence, n int, prompt bool) {
	ids, l := s.job.pending[:n], c.look(s)
	want := l.want(s.job, n, chooses(s.job, n))
	first := s.position
	step := c.newStep(s, s.machine.Step(first+n), n, l.results(want), 0)
	step.wants, step.each, step.relayed, step.leaves, step.prompt = want.Token, want.Each, true, want.Followed, prompt
	owner := s.machine.Epoch().OwnerOf(0)
	err := c.handle.driver.Chunk(owner, s.id, c.last, step.epoch, first, ids, want)
	c.issued(ctx, s, n, owner, err)
}

func (c *conductor) issueRound(ctx actor.Context, s *sequence, n int) {
	j := s.job
	ids, want := j.pending[:n], engine.Want{Token: chooses(j, n), Sampling: j.Sampling, Logits: j.Logits != nil}
	epoch, pieces := s.machine.Round(n)
	step := c.newStep(s, epoch, n, len(c.spec.Nodes), 0)
	step.pieces, step.wants, step.prompt = pieces, want.Token, true
	c.issued(ctx, s, n, 0, c.handle.driver.Round(s.id, c.last, epoch, pieces, ids, want))
}

// chooses reports whether the next n tokens of a job are its last, after which one is chosen.
func chooses(j *runningJob, n int) bool { return j.MaxTokens > 0 && n == len(j.pending) }

// newStep is a step that may follow another one, after, directly.
func (c *conductor) newStep(s *sequence, epoch uint64, n, results int, after uint64) *stepInFlight {
	c.last++
	step := &stepInFlight{began: c.handle.recorder.Load().Now(), seq: s, epoch: epoch, end: s.position + n, fed: n, waiting: results, token: -1, since: time.Now(), after: after}
	alone := true // but for the one that it follows
	for number := range c.steps {
		alone = alone && number == after
	}
	if alone && !c.came.IsZero() {
		c.handle.turns.add(step.since.Sub(c.came))
	}
	c.came = time.Time{}
	c.steps[c.last] = step
	s.inFlight++
	return step
}

// issued notes that tokens were handed out, or that they could not be.
func (c *conductor) issued(ctx actor.Context, s *sequence, n, owner int, err error) {
	s.position += n
	s.job.pending = s.job.pending[n:]
	if err != nil {
		c.stepFailed(ctx, s, c.spec.Nodes[owner], engine.Lost(err), err)
	}
}

// result takes what a node says about a step.
func (c *conductor) result(ctx actor.Context, r *engine.Result) {
	if r.Step == engine.EveryStep {
		c.nodeLost(ctx, r.Err.Lost, fmt.Errorf("node %s: %w", c.spec.Nodes[r.Node], r.Err))
		return
	}
	step := c.steps[r.Step]
	if step == nil {
		return // of a sequence that was closed, or that failed
	}
	s := step.seq
	if r.Err != nil {
		c.stepFailed(ctx, s, c.spec.Nodes[r.Node], r.Err.Lost, r.Err)
		return
	}
	if r.Token >= 0 {
		step.token = r.Token
	}
	step.relayed = step.relayed && r.Relayed
	if step.waiting--; step.waiting > 0 {
		return
	}
	if vocab := c.spec.Model.Config.Vocab; step.wants && step.token < 0 || int(step.token) >= vocab {
		node := r.Node
		if step.pieces == nil { // others may have told of the step last
			node = s.machine.Epoch().OwnerOf(c.spec.Model.Config.Layers - 1)
		}
		c.stepFailed(ctx, s, c.spec.Nodes[node], "", fmt.Errorf("token %d came of the step, which is none of the %d of the vocabulary", step.token, vocab))
		return
	}
	delete(c.steps, r.Step)
	if step.prompt {
		c.prompts.Done(s.id)
	} else {
		c.batcher.Done(s.id)
	}
	for _, next := range c.steps {
		if next.after == r.Step {
			next.since = time.Now() // it has the node from now on
		}
	}
	c.handle.recorder.Load().Add(trace.Span{Begin: step.began, Kind: trace.Step, Seq: s.id, Step: r.Step, First: uint32(step.end - step.fed), Count: uint32(step.fed),
		Layer: trace.NoLayer, Peer: trace.Nobody})
	s.inFlight--
	if s.closed {
		if s.inFlight == 0 {
			c.forget(ctx, s)
		}
		return
	}
	if step.each {
		if s.relayed = nil; step.relayed {
			s.relayed = s.machine.Epoch().Owners
		}
	}
	if step.pieces != nil {
		s.machine.RoundDone(step.epoch, step.pieces)
	} else {
		s.machine.Done(step.epoch, step.end)
	}
	s.progress, s.stalls = time.Now(), 0
	c.came = r.At
	if s.job != nil {
		c.stepDone(s, step)
		c.chooseNext(ctx, s, step)
	}
	c.advance(ctx, s)
	c.begin(ctx)
	c.came = time.Time{}
}

// stepDone gives the job what a finished step means to it.
func (c *conductor) stepDone(s *sequence, step *stepInFlight) {
	j := s.job
	if j.fed < j.feeding {
		j.fed += step.fed
		j.emit(Event{Kind: Fed, Count: j.fed})
	}
	if sink := c.handle.sink(s.id); sink != nil && sink.failure() != nil {
		j.cancelled = sink.failure()
	}
	switch {
	case step.token >= 0 && s.ended: // it has followed the token that ended the job
		s.next = &nextToken{step.token, j.Sampling}
	case step.token >= 0:
		s.produce(step.token)
	}
	if j.MaxTokens == 0 && j.fed == j.feeding {
		s.ended = true
	}
}

// produce gives the job a token.
func (s *sequence) produce(token int32) {
	j := s.job
	s.carry = []int32{token}
	j.produced++
	j.emit(Event{Kind: Generated, Token: token, Count: j.produced})
	if slices.Contains(j.Stop, token) || j.produced >= j.MaxTokens {
		s.ended = true
	} else if j.cancelled == nil {
		j.pending = s.carry
	}
	if s.inFlight > 0 { // a step has followed, and feeds it
		j.pending, s.carry = nil, nil
	} else if len(j.pending) > 0 {
		s.carry = nil
	}
}
