package actors

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery/placement"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/steering"
)

// Job is one piece of work on a sequence: feed tokens, then generate.
type Job struct {
	IDs       []int32         // fed after what the sequence has
	MaxTokens int             // to generate; 0 only feeds
	Stop      []int32         // tokens that end the generation; they are given out, and fed by the next job
	Sampling  sampling.Params // how to choose tokens
	SwitchAt  []SwitchAt      // mode switches on the way, ascending
	Unlimited bool            // MaxTokens is no more than there is room for: nobody knows how long the answer will be

	// Logits takes the logits of every fed token, [rows][vocabulary], rows of consecutive positions from
	// first on, in no particular order of the calls, which may come at the same time. The slice is valid
	// only during the call. An error ends the job.
	Logits func(first int, rows []float32) error
	// OneByOne is the number of tokens after which IDs are fed one at a time, as decode does, each in a
	// step of its own; negative for never. It is for measuring and testing decode on given tokens.
	OneByOne int
}

// SwitchAt asks for a mode once Token tokens are generated, or, in a job that only feeds, fed.
type SwitchAt struct {
	Token int
	Mode  placement.Mode
}

// SwitchReport tells how a switch went.
type SwitchReport struct {
	From, To placement.Mode
	Asked    int           // tokens in the cache when it was asked for
	Tokens   int           // tokens in the cache when it took effect
	Bytes    int64         // copied before it took effect
	Took     time.Duration // from asking until it took effect
	Err      error         // why it did not: the mode From is in force
}

// EventKind says what an Event is.
type EventKind uint8

// What happens to a job.
const (
	Fed       EventKind = iota + 1 // Count of the tokens to feed have been
	Generated                      // Token was chosen
	Switched                       // Switch is how a switch of SwitchAt, or of the pilot's, went
	Chosen                         // Choice is what the pilot decided
	Ended                          // the job is over; Err is nil, or why it could not be finished
)

// Event is something that happens to a job, at the time At.
type Event struct {
	Kind   EventKind
	At     time.Time
	Count  int
	Token  int32
	Switch *SwitchReport
	Choice *steering.Decision
	Err    error
}

// Running is a job that has been started. Its events come on a channel with room for all of them, so
// nobody waits for a reader; the channel is closed after Ended.
type Running struct {
	Events <-chan Event
	Base   int // tokens in the cache before the job
	Feed   int // tokens that it feeds, those left from the job before included
	ticket *ticket
}

// ticket tells one job from another.
type ticket struct{ _ byte }

// runningJob is a job as the conductor keeps it.
type runningJob struct {
	Job
	ticket    *ticket
	base      int     // tokens in the cache before the job
	pending   []int32 // not yet handed to a step
	fed       int     // of the tokens to feed, in the cache
	feeding   int     // tokens to feed
	produced  int
	switches  []SwitchAt // not yet asked for
	events    chan Event
	cancelled error
	began     int64 // on the trace's clock, if there is one
}

func newRunningJob(j Job, base int, carry []int32, chunk int) *runningJob {
	ids := append(append([]int32(nil), carry...), j.IDs...)
	if j.OneByOne >= 0 {
		j.OneByOne += len(carry)
	}
	steps := len(ids)/chunk + 2
	if j.OneByOne >= 0 {
		steps += len(ids)
	}
	return &runningJob{Job: j, base: base, pending: ids, feeding: len(ids), switches: j.SwitchAt,
		// One event for each step at the most, one for each token and switch, two for each decision, and the end.
		events: make(chan Event, steps*blocksPerStep+j.MaxTokens+len(j.SwitchAt)+2*steering.MaxDecisions+1)}
}

// blocksPerStep allows for steps that are cut short where a block was closed.
const blocksPerStep = 2

func (j *runningJob) emit(e Event) {
	e.At = time.Now()
	j.events <- e
}

// count is what SwitchAt refers to.
func (j *runningJob) count() int {
	if j.MaxTokens == 0 {
		return j.fed
	}
	return j.produced
}

// NodeLostError says that a node that a model needs is gone.
type NodeLostError struct {
	Node  string
	Cause error
}

func (e *NodeLostError) Error() string { return fmt.Sprintf("node %s is lost: %v", e.Node, e.Cause) }

// Unwrap is the cause.
func (e *NodeLostError) Unwrap() error { return e.Cause }
