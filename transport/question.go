package transport

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"
)

// Question is where the reply to a request comes in. Unlike a future of protoactor's it can be given up at any time:
// stopping a future while its reply arrives is a data race.
type Question struct {
	system *actor.ActorSystem
	pid    *actor.PID
	reply  chan any // the first
}

// NewQuestion makes a question. Close must follow.
func NewQuestion(system *actor.ActorSystem) *Question {
	q := &Question{system: system, reply: make(chan any, 1)}
	q.pid, _ = system.ProcessRegistry.Add(q, futureName+system.ProcessRegistry.NextId()) // each id is given out once
	return q
}

// PID is the sender that a request must name.
func (q *Question) PID() *actor.PID { return q.pid }

// Close gives the question up. A reply that comes now is a dead letter.
func (q *Question) Close() { q.system.ProcessRegistry.Remove(q.pid) }

// SendUserMessage implements [actor.Process].
func (q *Question) SendUserMessage(_ *actor.PID, message any) {
	_, m, _ := actor.UnwrapEnvelope(message)
	select {
	case q.reply <- m:
	default:
	}
}

// SendSystemMessage implements [actor.Process]: a question has no life of which anybody must know.
func (q *Question) SendSystemMessage(*actor.PID, any) {}

// Stop implements [actor.Process].
func (q *Question) Stop(*actor.PID) {}

// Answer waits for the reply until ctx ends, and gives it as a T. Whatever else came is an error: an [Undeliverable],
// another error that was sent as the reply, a dead letter.
func Answer[T any](ctx context.Context, q *Question) (T, error) {
	select {
	case reply := <-q.reply:
		if _, ok := reply.(*actor.DeadLetterResponse); ok {
			return replyAs[T](nil, actor.ErrDeadLetter)
		}
		return replyAs[T](reply, nil)
	case <-ctx.Done():
		return replyAs[T](nil, context.Cause(ctx))
	}
}
