package transport

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/asynkron/protoactor-go/actor"

	orrery "github.com/orrery-ai/orrery/proto"
)

// receiveEnvelope delivers an envelope that has come to the actor it is for. What no honest node sends is
// an error, which costs the peer its connection; what may be late or mistaken is logged and dropped.
func (l *inlink) receiveEnvelope(h header) error {
	system := l.e.actors.get()
	if system == nil {
		return errNoActors
	}
	env, err := decodeEnvelope(l.envelope)
	if err != nil {
		return err
	}
	l.e.traffic[Control].in(int(h.length))
	switch env.Kind {
	case orrery.Envelope_USER:
		return l.e.deliver(system, l.node, env)
	case orrery.Envelope_WATCH, orrery.Envelope_UNWATCH, orrery.Envelope_TERMINATED:
		if env.SenderNode != l.node {
			return protocolError("an envelope of kind %s in the name of node %s", env.Kind, env.SenderNode)
		}
		l.e.deliverWatch(system, l.node, env)
		return nil
	}
	return protocolError("an envelope of kind %d", env.Kind)
}

// deliver hands a user message to the actor or future it is for.
func (e *Endpoint) deliver(system *actor.ActorSystem, from string, env *orrery.Envelope) error {
	m, err := decodeMessage(env)
	if err != nil {
		return err
	}
	var sender *actor.PID
	if env.Sender != "" {
		// A sender on this node is one whose request was forwarded. The reply to it does not come through
		// here, so that what a peer may not reach, it may not name either.
		if env.SenderNode == e.c.Node && !isFuture(env.Sender) && !e.actors.isExposed(env.Sender) {
			return protocolError("a message in the name of %s, which is not exposed", env.Sender)
		}
		sender = actor.NewPID(env.SenderNode, env.Sender)
	}
	target := actor.NewPID(e.c.Node, env.Target)
	switch {
	case e.actors.isExposed(env.Target):
		p, _ := system.ProcessRegistry.GetLocal(env.Target) // if it has gone, the dead letter process
		p.SendUserMessage(target, envelope(m, sender))
	case isFuture(env.Target):
		e.replied(from, env.Target)
		if p := claimFuture(system, env.Target); p != nil {
			p.SendUserMessage(target, envelope(m, sender))
			return nil
		}
		e.c.Logger.Debug("late reply dropped", "peer", from, "target", env.Target, "message", env.Type)
		e.answerNobody(system, target, sender)
	default:
		level := slog.LevelWarn
		if e.actors.hasGone(env.Target) {
			level = slog.LevelDebug
		}
		e.c.Logger.Log(context.Background(), level, "message to an actor that is not exposed", "peer", from, "target", env.Target, "message", env.Type)
		e.answerNobody(system, target, sender)
	}
	return nil
}

// answerNobody tells another node's requester that there is nobody to answer.
func (e *Endpoint) answerNobody(system *actor.ActorSystem, target, sender *actor.PID) {
	if sender != nil && sender.Address != e.c.Node {
		system.Root.Send(sender, &actor.DeadLetterResponse{Target: target})
	}
}

// envelope is how protoactor wants a message whose sender it should know.
func envelope(m any, sender *actor.PID) any {
	if sender == nil {
		return m
	}
	return &actor.MessageEnvelope{Message: m, Sender: sender}
}

func (e *Endpoint) replied(from, future string) {
	if r := e.existingRemote(from); r != nil {
		r.replied(future)
	}
}

// exposedProcess is an actor that other nodes may reach; for any other id the dead letter process.
func (e *Endpoint) exposedProcess(system *actor.ActorSystem, id string) (actor.Process, error) {
	if !e.actors.isExposed(id) {
		return system.DeadLetter, fmt.Errorf("actor %s is not exposed", id)
	}
	p, _ := system.ProcessRegistry.GetLocal(id)
	return p, nil
}
