package transport

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"

	orrery "github.com/orrery-ai/orrery/proto"
)

// An actor may watch one of another node, if that is exposed. It is told when the other ends, and when
// the connection with the other's node is lost, whichever comes first. The watcher's node keeps the
// table, so that nobody is told what he did not ask for.

// watchKey is one watch: ids of an actor of the peer, and of the one of this node that watches it.
type watchKey struct{ target, watcher string }

// watch asks a peer to say when target ends.
func (e *Endpoint) watch(target, watcher *actor.PID) {
	k := watchKey{target.Id, watcher.Id}
	r, err := e.remote(target.Address)
	if err == nil {
		if err = r.addWatch(k); err == nil {
			err = e.enqueueWatch(orrery.Envelope_WATCH, target, watcher)
		}
		if err != nil && !r.dropWatch(k) {
			return // the peer was lost meanwhile, and the watcher told
		}
	}
	if err != nil {
		e.c.Logger.Warn("watch not sent", "peer", target.Address, "target", target.Id, "watcher", watcher.Id, "err", err)
		e.tellTerminated(target.Address, k, actor.TerminatedReason_AddressTerminated)
	}
}

// unwatch takes a watch back.
func (e *Endpoint) unwatch(target, watcher *actor.PID) error {
	r := e.existingRemote(target.Address)
	if r == nil || !r.dropWatch(watchKey{target.Id, watcher.Id}) {
		return nil
	}
	return e.enqueueWatch(orrery.Envelope_UNWATCH, target, watcher)
}

// terminated tells another node's watcher that an actor of this node has ended.
func (e *Endpoint) terminated(watcher *actor.PID, m *actor.Terminated) error {
	frame, err := encodeEnvelope(&orrery.Envelope{
		Kind: orrery.Envelope_TERMINATED, Target: watcher.Id, SenderNode: e.c.Node, Sender: m.Who.Id,
		NotFound: m.Why == actor.TerminatedReason_NotFound,
	})
	if err != nil {
		return err
	}
	return e.enqueue(watcher.Address, outgoing{frame: frame, target: watcher, notice: true})
}

func (e *Endpoint) enqueueWatch(kind orrery.Envelope_Kind, target, watcher *actor.PID) error {
	frame, err := encodeEnvelope(&orrery.Envelope{
		Kind: kind, Target: target.Id, SenderNode: e.c.Node, Sender: watcher.Id,
	})
	if err != nil {
		return err
	}
	return e.enqueue(target.Address, outgoing{frame: frame, target: target, notice: true})
}

func (r *remote) addWatch(k watchKey) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches[k] = true
	if len(r.watches) > maxPending {
		return errors.New("too many watches")
	}
	return r.ended
}

// dropWatch reports whether there was such a watch.
func (r *remote) dropWatch(k watchKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	had := r.watches[k]
	delete(r.watches, k)
	return had
}

// tellTerminated tells a watcher on this node that what it watches on a peer has ended.
func (e *Endpoint) tellTerminated(node string, k watchKey, why actor.TerminatedReason) {
	p, there := e.actors.get().ProcessRegistry.GetLocal(k.watcher)
	if there {
		p.SendSystemMessage(actor.NewPID(e.c.Node, k.watcher),
			&actor.Terminated{Who: actor.NewPID(node, k.target), Why: why})
	}
}

// deliverWatch handles what a peer says about watching.
func (e *Endpoint) deliverWatch(system *actor.ActorSystem, from string, env *orrery.Envelope) {
	target := actor.NewPID(e.c.Node, env.Target)
	other := actor.NewPID(from, env.Sender)
	switch env.Kind {
	case orrery.Envelope_WATCH:
		p, err := e.exposedProcess(system, env.Target)
		if err != nil {
			e.c.Logger.Warn("watch refused", "peer", from, "err", err)
		}
		p.SendSystemMessage(target, &actor.Watch{Watcher: other}) // a dead letter is answered with Terminated
	case orrery.Envelope_UNWATCH:
		if p, err := e.exposedProcess(system, env.Target); err == nil {
			p.SendSystemMessage(target, &actor.Unwatch{Watcher: other})
		}
	case orrery.Envelope_TERMINATED:
		k := watchKey{target: env.Sender, watcher: env.Target}
		if r := e.existingRemote(from); r == nil || !r.dropWatch(k) {
			return // taken back meanwhile
		}
		why := actor.TerminatedReason_Stopped
		if env.NotFound {
			why = actor.TerminatedReason_NotFound
		}
		e.tellTerminated(from, k, why)
	}
}
