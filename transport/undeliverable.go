package transport

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
)

// Undeliverable is what the sender of a request gets, in place of the reply, when the request could not
// be sent or the peer was lost before the reply came. The request may still have been acted upon.
type Undeliverable struct {
	Target *actor.PID
	Err    error
}

// Error names the actor and the reason.
func (u *Undeliverable) Error() string {
	return fmt.Sprintf("transport: no reply from actor %s of node %s: %v", u.Target.Id, u.Target.Address, u.Err)
}

// Unwrap is the reason.
func (u *Undeliverable) Unwrap() error { return u.Err }

// replyAs gives a reply as a T. Whatever else came is an error: an [Undeliverable], another error that was sent
// as the reply, a dead letter.
func replyAs[T any](result any, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	if err, ok := result.(error); ok {
		return zero, err
	}
	if reply, ok := result.(T); ok {
		return reply, nil
	}
	return zero, fmt.Errorf("transport: the reply is a %T, want a %T", result, zero)
}

// undeliverable reports a message to another node that did not go out.
func (e *Endpoint) undeliverable(o outgoing, cause error) {
	system := e.actors.get()
	if o.notice {
		e.c.Logger.Debug("notice not sent", "target", o.target.Id, "peer", o.target.Address, "err", cause)
		return
	}
	// Without the sender: with it protoactor would answer too, and a future must be answered once.
	system.EventStream.Publish(&actor.DeadLetterEvent{PID: o.target, Message: o.message})
	e.c.Logger.Debug("message not sent", "target", o.target.Id, "peer", o.target.Address,
		"message", fmt.Sprintf("%T", o.message), "err", cause)
	if o.sender == nil {
		return
	}
	if o.sender.Address != e.c.Node {
		// A request of another node's actor, forwarded by one of ours.
		system.Root.Send(o.sender, &actor.DeadLetterResponse{Target: o.target})
		return
	}
	var lost *ErrPeerLost
	if !errors.As(cause, &lost) {
		cause = &ErrPeerLost{Node: o.target.Address, Cause: cause}
	}
	u := &Undeliverable{Target: o.target, Err: cause}
	if isFuture(o.sender.Id) {
		e.failFuture(o.sender.Id, u)
		return
	}
	system.Root.Send(o.sender, u)
}

// failFuture completes a future of this node with u, unless it was completed before.
func (e *Endpoint) failFuture(id string, u *Undeliverable) {
	if p := claimFuture(e.actors.get(), id); p != nil {
		p.SendUserMessage(actor.NewPID(e.c.Node, id), u)
	}
}
