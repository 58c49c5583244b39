package actors

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/transport"
)

// conductor is the actor behind a Conductor. What it decides on, residence and the choice of steps, is
// in pure code; here are the messages and the clock.
type conductor struct {
	handle    *Conductor
	spec      *Spec
	policy    *residence.Policy
	limits    limits
	log       *slog.Logger
	loaded    []bool // nodes that have every layer
	loading   []bool
	seqs      map[uint64]*sequence
	steps     map[uint64]*stepInFlight
	last      uint64 // step number
	round     uint64 // the round of ring prefill in flight, which is alone, or 0
	wanting   uint64 // the sequence that waits to begin a round, or 0: nothing else begins
	justRound uint64 // the sequence whose round was the last, until the others have had their turn
	broken    error
	ticking   chan struct{} // closed to end the goroutine that ticks
}

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
}

// Messages from this process.
type (
	openSequence struct {
		id   uint64
		mode placement.Mode
	}
	sequenceReady struct{ id uint64 }
	startJob      struct {
		seq    uint64
		job    Job
		ticket *ticket
	}
	jobStarted struct{ job *runningJob }
	cancelJob  struct {
		seq    uint64
		ticket *ticket
		cause  error
	}
	switchMode struct {
		seq  uint64
		mode placement.Mode
	}
	closeSequence struct{ seq uint64 }
	nodeLost      struct {
		name  string
		cause error
	}
	tick struct{}
)

// tickEvery is how often deadlines are looked at.
const tickEvery = 250 * time.Millisecond

func newConductor(h *Conductor, p *residence.Policy) *conductor {
	n := len(h.spec.Nodes)
	c := &conductor{handle: h, spec: &h.spec, policy: p, log: h.spec.Logger, loaded: make([]bool, n), loading: make([]bool, n),
		limits: limits{chunk: h.spec.Chunk, round: p.Round(), block: h.spec.BlockTokens, nodes: n},
		seqs:   map[uint64]*sequence{}, steps: map[uint64]*stepInFlight{}, ticking: make(chan struct{})}
	for i := range c.loaded {
		c.loaded[i] = h.spec.Mode == placement.Ring || n == 1
	}
	return c
}

// Receive handles the messages to a conductor.
func (c *conductor) Receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		go c.tick(ctx.ActorSystem().Root, ctx.Self())
	case *actor.Stopping:
		close(c.ticking)
		c.fail(ctx, fmt.Errorf("the model was closed"))
	case *openSequence:
		c.open(ctx, msg.id, msg.mode)
	case *proto.SequenceOpened:
		c.sequenceOpened(ctx, msg)
	case *startJob:
		c.start(ctx, msg)
	case *cancelJob:
		if s := c.seqs[msg.seq]; s != nil && s.job != nil && s.job.ticket == msg.ticket {
			s.job.cancelled = msg.cause
			c.advance(ctx, s)
			c.advanceOthers(ctx, s) // they may have waited for it to begin a round
		}
	case *switchMode:
		c.switchMode(ctx, msg)
	case *closeSequence:
		c.closeSequence(ctx, msg.seq, fmt.Errorf("the sequence was closed"))
		c.advanceOthers(ctx, nil)
	case *engine.Result:
		c.result(ctx, msg)
	case *proto.LayersLoaded:
		c.layersLoaded(ctx, msg)
	case *proto.Copied:
		c.onSequence(ctx, msg.Sequence, func(s *sequence) {
			if msg.Error != "" {
				s.machine.CopyFailed(msg.Batch, fmt.Sprintf("node %s: %s", c.nodeName(msg.Node), msg.Error))
			} else {
				s.machine.Copied(msg.Batch, int(msg.Id), msg.Bytes)
			}
		})
	case *proto.EpochTaken:
		c.onSequence(ctx, msg.Sequence, func(s *sequence) {
			if msg.Error != "" {
				s.machine.Refused(msg.Epoch, int(msg.Node), msg.Error)
			} else {
				s.machine.Taken(msg.Epoch, int(msg.Node))
			}
		})
	case *transport.Undeliverable:
		c.nodeLost(ctx, msg.Target.Address, msg.Err)
	case *nodeLost:
		c.nodeLost(ctx, msg.name, msg.cause)
	case tick:
		c.checkDeadlines(ctx, time.Now())
		c.advanceOthers(ctx, nil) // whoever let others go first, and saw no result of theirs
	}
}

func (c *conductor) tick(root *actor.RootContext, self *actor.PID) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-c.ticking:
			return
		case <-t.C:
			root.Send(self, tick{})
		}
	}
}

func (c *conductor) nodeName(n uint32) string {
	if int(n) < len(c.spec.Nodes) {
		return c.spec.Nodes[n]
	}
	return fmt.Sprintf("#%d", n)
}

// open admits a sequence: every node makes its shard before the first step.
func (c *conductor) open(ctx actor.Context, id uint64, mode placement.Mode) {
	if c.broken != nil {
		ctx.Respond(c.broken)
		return
	}
	if len(c.seqs) >= c.spec.MaxSequences {
		ctx.Respond(fmt.Errorf("%d sequences are open, which is as many as the model was loaded for: close one, or load with more", len(c.seqs)))
		return
	}
	if mode == placement.Ring && slices.Contains(c.loaded, false) {
		c.loadEverywhere(ctx)
	}
	s := newSequence(id, residence.NewMachine(c.policy, len(c.spec.Nodes), mode, c.loaded), len(c.spec.Nodes))
	s.opener = ctx.Sender()
	c.seqs[s.id] = s
	for _, name := range c.spec.Nodes {
		ctx.Request(layerShardPID(name, c.handle.model), &proto.OpenSequence{Sequence: s.id, Epoch: epochToProto(s.machine.Epoch())})
	}
}

func (c *conductor) sequenceOpened(ctx actor.Context, msg *proto.SequenceOpened) {
	s := c.seqs[msg.Sequence]
	if s == nil || s.opener == nil {
		return
	}
	if msg.Error != "" {
		ctx.Send(s.opener, fmt.Errorf("node %s: %s", c.nodeName(msg.Node), msg.Error))
		s.opener = nil
		c.closeSequence(ctx, s.id, nil)
		return
	}
	if delete(s.unopened, int(msg.Node)); len(s.unopened) > 0 || c.ringNeedsLayers(s) {
		return
	}
	ctx.Send(s.opener, &sequenceReady{s.id})
	s.opener = nil
}

// ringNeedsLayers reports whether a sequence that is being opened in ring still waits for weights.
func (c *conductor) ringNeedsLayers(s *sequence) bool {
	return s.machine.Epoch().Mode == placement.Ring && slices.Contains(c.loaded, false)
}

func (c *conductor) start(ctx actor.Context, msg *startJob) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
		return
	case s == nil || s.opener != nil:
		ctx.Respond(fmt.Errorf("sequence %d is not open", msg.seq))
		return
	case s.job != nil:
		ctx.Respond(fmt.Errorf("sequence %d is busy with another job", msg.seq))
		return
	}
	msg.job.MaxTokens = max(0, min(msg.job.MaxTokens, c.spec.Context))
	j := newRunningJob(msg.job, s.machine.Length(), s.carry, c.spec.Chunk)
	if len(j.pending) == 0 {
		ctx.Respond(fmt.Errorf("there is nothing to feed: a job needs at least one token"))
		return
	}
	room := c.spec.Context - s.machine.Length()
	if len(j.pending) > room || j.MaxTokens > 0 && len(j.pending) >= room {
		ctx.Respond(&ContextError{Tokens: len(j.pending), Room: room, Context: c.spec.Context})
		return
	}
	j.MaxTokens = min(j.MaxTokens, room-len(j.pending))
	if j.Logits != nil {
		c.handle.setSink(s.id, &logitSink{write: j.Logits})
	}
	j.ticket = msg.ticket
	s.job, s.carry, s.position = j, nil, j.base
	ctx.Respond(&jobStarted{j})
	c.advance(ctx, s)
}

// ContextError says that a prompt does not fit in what is left of the context.
type ContextError struct {
	Tokens  int // to be fed
	Room    int // left
	Context int // that the model was loaded with
}

func (e *ContextError) Error() string {
	return fmt.Sprintf("the prompt has %d tokens, and %d of the context of %d are left: shorten it, or load the model with a larger context",
		e.Tokens, e.Room, e.Context)
}

func (c *conductor) switchMode(ctx actor.Context, msg *switchMode) {
	s := c.seqs[msg.seq]
	switch {
	case c.broken != nil:
		ctx.Respond(c.broken)
	case s == nil:
		ctx.Respond(fmt.Errorf("sequence %d is not open", msg.seq))
	case s.asked != nil:
		ctx.Respond(residence.ErrSwitching)
	default:
		c.ask(s, msg.mode, ctx.Sender())
		c.advance(ctx, s)
	}
}

// ask starts a switch. answer is who waits for its report; without one it is an event of the job.
func (c *conductor) ask(s *sequence, mode placement.Mode, answer *actor.PID) {
	s.asked = &switchAsked{answer: answer, job: s.job, since: time.Now(),
		report: SwitchReport{From: s.machine.Epoch().Mode, To: mode, Asked: s.machine.Length()}}
	if why := c.spec.Refused[mode]; why != "" {
		s.asked.refused = fmt.Errorf("mode %v is not possible here: %s", mode, why)
		return
	}
	if err := s.machine.Switch(mode); err != nil {
		s.asked.refused = err
	}
}

func (c *conductor) onSequence(ctx actor.Context, id uint64, do func(*sequence)) {
	if s := c.seqs[id]; s != nil {
		do(s)
		s.progress = time.Now()
		c.advance(ctx, s)
	}
}

// advance carries out what the machine asks for, begins the steps that may begin, and ends a job that is
// done. It is called after every event of a sequence.
func (c *conductor) advance(ctx actor.Context, s *sequence) {
	c.act(ctx, s)
	if s.machine.Stuck() && s.failed == nil {
		c.failSequence(ctx, s, fmt.Errorf("the nodes do not agree on where the KV cache is: %s", s.lastFailure))
		return
	}
	if s.job == nil || s.opener != nil {
		return
	}
	c.askDue(s)
	c.act(ctx, s)
	if s.job.cancelled == nil {
		c.issue(ctx, s)
		c.act(ctx, s)
	}
	if s.job != nil && s.inFlight == 0 && (s.job.cancelled != nil || s.ended) {
		c.endJob(s, s.job.cancelled)
	}
}

// askDue asks for the switches of SwitchAt whose time has come, one after the other.
func (c *conductor) askDue(s *sequence) {
	if j := s.job; len(j.switches) > 0 && s.asked == nil && j.count() >= j.switches[0].Token && !s.ended {
		mode := j.switches[0].Mode
		j.switches = j.switches[1:]
		c.ask(s, mode, nil)
	}
}

// issue begins steps of a sequence's job while it may.
func (c *conductor) issue(ctx actor.Context, s *sequence) {
	j := s.job
	for len(j.pending) > 0 && !s.ended {
		remaining, handed := len(j.pending), s.position-j.base
		single := j.OneByOne >= 0 && handed >= j.OneByOne
		if j.OneByOne > handed {
			remaining = min(remaining, j.OneByOne-handed)
		}
		n, round := c.limits.nextStep(s.machine.Epoch().Mode, s.position, remaining, single)
		if c.round != 0 || c.wanting != 0 && c.wanting != s.id {
			return
		}
		if round {
			if c.justRound == s.id && c.othersWait(s) {
				c.justRound = 0 // one step each for them before the next round
				return
			}
			c.wanting = s.id
			if len(c.steps) > 0 || !s.machine.CanRound() {
				return
			}
			c.wanting = 0
			c.issueRound(ctx, s, n)
			return
		}
		c.wanting = 0
		if !s.machine.CanStep() || s.inFlight >= window(len(s.machine.Epoch().Owners), single) ||
			s.machine.Lag() > maxLagChunks*c.spec.Chunk {
			return
		}
		if !c.issueChunk(ctx, s, n) {
			return
		}
	}
}

// othersWait reports whether another sequence has a step to begin.
func (c *conductor) othersWait(s *sequence) bool {
	for _, o := range c.seqs {
		if o != s && o.job != nil && len(o.job.pending) > 0 && !o.ended && o.opener == nil && o.machine.CanStep() {
			return true
		}
	}
	return false
}

// maxLagChunks bounds how far prefill may run ahead of the spreading of its blocks, in chunks: they are
// at their layer's owner until they have moved, and memory was promised for little more.
const maxLagChunks = 8

func (c *conductor) want(j *runningJob, n int) engine.Want {
	return engine.Want{Token: j.MaxTokens > 0 && n == len(j.pending), Sampling: j.Sampling, Logits: j.Logits != nil}
}

func (c *conductor) issueChunk(ctx actor.Context, s *sequence, n int) bool {
	j := s.job
	ids, want := j.pending[:n], c.want(j, n)
	first := s.position
	step := c.newStep(s, s.machine.Step(), n, 1)
	owner := s.machine.Epoch().OwnerOf(0)
	err := c.handle.driver.Chunk(owner, s.id, c.last, step.epoch, first, ids, want)
	return c.issued(ctx, s, n, owner, err)
}

func (c *conductor) issueRound(ctx actor.Context, s *sequence, n int) {
	j := s.job
	ids, want := j.pending[:n], c.want(j, n)
	epoch, pieces := s.machine.Round(n)
	step := c.newStep(s, epoch, n, len(c.spec.Nodes))
	step.pieces = pieces
	c.round = c.last
	c.issued(ctx, s, n, 0, c.handle.driver.Round(s.id, c.last, epoch, pieces, ids, want))
}

func (c *conductor) newStep(s *sequence, epoch uint64, n, results int) *stepInFlight {
	c.last++
	step := &stepInFlight{seq: s, epoch: epoch, end: s.position + n, fed: n, waiting: results, token: -1, since: time.Now()}
	c.steps[c.last] = step
	s.inFlight++
	return step
}

// issued notes that tokens were handed out, or that they could not be.
func (c *conductor) issued(ctx actor.Context, s *sequence, n, owner int, err error) bool {
	s.position += n
	s.job.pending = s.job.pending[n:]
	if err == nil {
		return true
	}
	c.stepFailed(ctx, s, c.spec.Nodes[owner], engine.Lost(err), err)
	return false
}

// result takes what a node says about a step.
func (c *conductor) result(ctx actor.Context, r *engine.Result) {
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
	if step.waiting--; step.waiting > 0 {
		return
	}
	delete(c.steps, r.Step)
	s.inFlight--
	if step.pieces != nil {
		c.round, c.justRound = 0, s.id
		s.machine.RoundDone(step.epoch, step.pieces)
	} else {
		s.machine.Done(step.epoch, step.end)
	}
	s.progress = time.Now()
	if s.job != nil {
		c.stepDone(s, step)
	}
	c.advance(ctx, s)
	c.advanceOthers(ctx, s)
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
	if step.token >= 0 {
		s.carry = []int32{step.token}
		j.produced++
		j.emit(Event{Kind: Generated, Token: step.token, Count: j.produced})
		if slices.Contains(j.Stop, step.token) || j.produced >= j.MaxTokens {
			s.ended = true
		} else if j.cancelled == nil {
			j.pending, s.carry = s.carry, nil
		}
	}
	if j.MaxTokens == 0 && j.fed == j.feeding {
		s.ended = true
	}
}

func (c *conductor) endJob(s *sequence, err error) {
	if s.asked != nil && s.asked.answer == nil && err == nil {
		return // a switch of SwitchAt is under way: its report belongs to the job
	}
	j := s.job
	if j.fed == j.feeding && len(j.pending) > 0 {
		s.carry = j.pending // it was given out: the next job feeds it
	}
	s.job, s.ended = nil, false
	if c.wanting == s.id {
		c.wanting = 0
	}
	c.handle.setSink(s.id, nil)
	j.emit(Event{Kind: Ended, Err: err})
	close(j.events)
}

// advanceOthers lets the other sequences begin what had to wait.
func (c *conductor) advanceOthers(ctx actor.Context, s *sequence) {
	if s != nil && len(c.seqs) == 1 && c.seqs[s.id] == s {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(c.seqs)) {
		if o := c.seqs[id]; o != nil && o != s {
			c.advance(ctx, o)
		}
	}
}

// stepFailed ends a sequence because of one of its steps, and everything if a node was lost.
func (c *conductor) stepFailed(ctx actor.Context, s *sequence, node, lost string, cause error) {
	if lost != "" {
		c.nodeLost(ctx, lost, fmt.Errorf("node %s: %w", node, cause))
		return
	}
	c.failSequence(ctx, s, fmt.Errorf("node %s: %w", node, cause))
	c.advanceOthers(ctx, s)
}

func (c *conductor) nodeLost(ctx actor.Context, name string, cause error) {
	if c.broken == nil && slices.Contains(c.spec.Nodes, name) {
		c.fail(ctx, &NodeLostError{Node: name, Cause: cause})
	}
}

// fail ends everything: no sequence can go on without one of the nodes.
func (c *conductor) fail(ctx actor.Context, err error) {
	c.broken = err
	c.handle.setBroken(err)
	for _, id := range slices.Sorted(maps.Keys(c.seqs)) {
		c.failSequence(ctx, c.seqs[id], err)
	}
}

// failSequence ends a sequence's job with an error. Its KV cache is in a state between steps that cannot
// be gone on from, so the sequence is closed.
func (c *conductor) failSequence(ctx actor.Context, s *sequence, err error) {
	s.failed = err
	c.closeSequence(ctx, s.id, err)
}

func (c *conductor) closeSequence(ctx actor.Context, id uint64, cause error) {
	s := c.seqs[id]
	if s == nil {
		return
	}
	delete(c.seqs, id)
	for n, step := range c.steps {
		if step.seq == s {
			delete(c.steps, n)
			if c.round == n {
				c.round = 0
			}
		}
	}
	if s.asked != nil && s.asked.answer != nil {
		ctx.Send(s.asked.answer, cause)
	}
	s.asked = nil
	if s.opener != nil {
		ctx.Send(s.opener, cause)
		s.opener = nil
	}
	if s.job != nil {
		c.endJob(s, cause)
	}
	for _, name := range c.spec.Nodes {
		ctx.Send(layerShardPID(name, c.handle.model), &proto.CloseSequence{Sequence: id})
	}
}

// checkDeadlines fails steps that took too long, and gives up copies and announcements that did.
func (c *conductor) checkDeadlines(ctx actor.Context, now time.Time) {
	for _, n := range slices.Sorted(maps.Keys(c.steps)) {
		step := c.steps[n]
		// A node gives up within the step's own timeout and says why; this is for one that cannot.
		if step != nil && now.Sub(step.since) > c.spec.StepTimeout+stepGrace {
			c.stepFailed(ctx, step.seq, c.spec.Nodes[step.seq.machine.Epoch().OwnerOf(0)], "", fmt.Errorf("no result within %v", c.spec.StepTimeout))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.seqs)) {
		s := c.seqs[id]
		if s.machine.Waiting() && s.inFlight == 0 && now.Sub(s.progress) > c.spec.StepTimeout {
			s.machine.Abandon(fmt.Sprintf("no answer within %v", c.spec.StepTimeout))
			c.advance(ctx, s)
		}
	}
}

const stepGrace = 2 * time.Second
