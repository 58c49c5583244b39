package actors

import (
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/admission"
	"github.com/orrery-ai/orrery/batching"
	"github.com/orrery-ai/orrery/engine"
	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/proto"
	"github.com/orrery-ai/orrery/residence"
	"github.com/orrery-ai/orrery/steering"
	"github.com/orrery-ai/orrery/transport"
)

// conductor is the actor behind a Conductor. What it decides on, residence and the choice of steps, is
// in pure code; here are the messages and the clock.
type conductor struct {
	handle      *Conductor
	spec        *Spec
	policy      *residence.Policy
	limits      limits
	modes       []placement.Mode // that a sequence may be in
	pairBytes   int64            // of a token's keys and values in one layer
	desk        *admission.Desk
	batcher     *batching.Batcher
	prompts     *batching.Prompts
	predict     steering.Predictor // for sequences in placement.Auto; nil: nothing is predicted
	unpredicted string             // why
	lessons     steering.Lessons   // of all of them
	waiting     map[uint64]*waitingSequence
	log         *slog.Logger
	loaded      []bool // nodes that have every layer
	loading     []bool
	seqs        map[uint64]*sequence
	steps       map[uint64]*stepInFlight
	last        uint64 // step number
	broken      error
	came        time.Time     // the result that is being taken; zero if it has led to a step, or none is
	ticking     chan struct{} // closed to end the goroutine that ticks
}

// Messages from this process.
type (
	openSequence struct {
		id     uint64
		mode   placement.Mode
		tokens int // that it may come to
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
	fillSequence struct {
		seq    uint64
		tokens int
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
		limits: limits{chunk: h.spec.Chunk, asking: h.spec.asking(), round: p.Round(), block: h.spec.BlockTokens, nodes: n},
		modes:  h.spec.possibleModes(), pairBytes: h.spec.Model.Config.KVBytesPerToken(h.spec.KV), waiting: map[uint64]*waitingSequence{},
		seqs: map[uint64]*sequence{}, steps: map[uint64]*stepInFlight{}, ticking: make(chan struct{})}
	room := make([]int64, n)
	for i, p := range h.spec.Memory {
		room[i] = p.KV
	}
	c.desk = admission.NewDesk(room, h.spec.MaxWaiting)
	c.batcher, c.prompts = batching.New(h.spec.together()), batching.NewPrompts()
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
		c.fail(ctx, fmt.Errorf("the model %w", ErrClosed))
	case *openSequence:
		c.ask(ctx, msg)
	case *proto.SequenceOpened:
		c.sequenceOpened(ctx, msg)
	case *steer:
		c.steer(msg)
	case *startJob:
		c.start(ctx, msg)
	case *cancelJob:
		if s := c.seqs[msg.seq]; s != nil && s.job != nil && s.job.ticket == msg.ticket {
			s.job.cancelled = msg.cause
			c.advance(ctx, s)
		}
	case *switchMode:
		c.switchMode(ctx, msg)
	case *fillSequence:
		c.fill(ctx, msg)
	case *closeSequence:
		c.closeSequence(ctx, msg.seq, fmt.Errorf("the sequence %w", ErrClosed))
	case *engine.Result:
		c.result(ctx, msg)
	case *proto.LayersLoading:
		if c.spec.OnLoading != nil && int(msg.Node) < len(c.spec.Nodes) && msg.Done <= msg.Total && msg.Total <= math.MaxInt64 {
			c.spec.OnLoading(c.nodeName(msg.Node), int64(msg.Done), int64(msg.Total))
		}
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
	case *proto.Released:
		c.onSequence(ctx, msg.Sequence, func(s *sequence) {
			switch n := int(msg.Node); {
			case n >= len(c.spec.Nodes):
			case msg.Before > 0:
				s.machine.Released(n, msg.Before)
			default:
				s.machine.Discarded(n, msg.Batch)
			}
		})
	case *proto.Lent:
		c.onSequence(ctx, msg.Sequence, func(s *sequence) { c.lent(ctx, s, msg) })
	case *transport.Undeliverable:
		c.nodeLost(ctx, msg.Target.Address, msg.Err)
	case *nodeLost:
		c.nodeLost(ctx, msg.name, msg.cause)
	case tick:
		c.checkDeadlines(ctx, time.Now())
	}
	c.begin(ctx)
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

func (c *conductor) onSequence(ctx actor.Context, id uint64, do func(*sequence)) {
	if s := c.seqs[id]; s != nil {
		do(s)
		s.progress = time.Now()
		c.advance(ctx, s)
	}
}

// advance carries out what the machine asks for, says which step may begin next, and ends a job that is done. It is
// called after every event of a sequence.
func (c *conductor) advance(ctx actor.Context, s *sequence) {
	c.progress(ctx, s)
	c.queue(s)
	c.act(ctx, s) // before a round the machine may want blocks to be closed
}

func (c *conductor) progress(ctx actor.Context, s *sequence) {
	c.act(ctx, s)
	c.payBack(ctx, s)
	if s.machine.Stuck() && s.failed == nil {
		c.failSequence(ctx, s, fmt.Errorf("the nodes do not agree on where the KV cache is: %s", s.lastFailure))
		return
	}
	if s.filling != nil {
		c.beginFill(ctx, s)
	}
	if s.job == nil || s.opener != nil {
		return
	}
	c.askDue(ctx, s)
	c.act(ctx, s)
	if s.job.cancelled == nil {
		c.follow(ctx, s)
	}
	if s.job != nil && s.inFlight == 0 && (s.job.cancelled != nil || s.ended) {
		c.endJob(s, s.job.cancelled)
	}
}
