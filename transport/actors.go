package transport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// actors is the part of an endpoint that joins actor systems.
type actors struct {
	mu      sync.RWMutex
	system  *actor.ActorSystem
	exposed map[string]bool
	gone    [goneKept]string // that were exposed, the latest of them
	ended   int              // that were exposed, in all
}

// goneKept is how many actors are remembered when they have gone: what others sent them before they knew is no mistake.
const goneKept = 64

// futurePrefix begins the ids of protoactor's futures, and of our questions: see its actor.NewFuture and
// ProcessRegistry.NextId, whose ids begin with the dollar.
const (
	futureName   = "future"
	futurePrefix = futureName + "$"
)

var errNoActors = errors.New("no actor system is attached")

// AttachActors joins the actor system to those of the other nodes. Its address becomes this node's name,
// so that actor.NewPID(node, id) reaches an actor of any node that has exposed it. Call it once, before
// the system spawns its first actor.
//
// What is sent to another node must be a protobuf message known to both. The messages from one node to
// another arrive in order, at most once, and are bounded at 1 MiB. One that cannot be sent becomes an
// actor.DeadLetterEvent; if it was a request, its sender gets an [Undeliverable].
func (e *Endpoint) AttachActors(system *actor.ActorSystem) error {
	e.actors.mu.Lock()
	defer e.actors.mu.Unlock()
	if e.actors.system != nil {
		return errors.New("transport: an actor system is attached already")
	}
	e.actors.system = system
	e.actors.exposed = make(map[string]bool)
	system.ProcessRegistry.Address = e.c.Node
	system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) {
		if checkName("node", pid.Address) != nil {
			return nil, false
		}
		return &remoteProcess{e: e, node: pid.Address}, true
	})
	return nil
}

// Expose lets the other nodes send to the actor of this id. Replies to futures need no exposing.
func (e *Endpoint) Expose(id string) {
	e.actors.mu.Lock()
	defer e.actors.mu.Unlock()
	if e.actors.system != nil {
		e.actors.exposed[id] = true
	}
}

// Unexpose takes an Expose back.
func (e *Endpoint) Unexpose(id string) {
	e.actors.mu.Lock()
	defer e.actors.mu.Unlock()
	if e.actors.exposed[id] {
		e.actors.gone[e.actors.ended%goneKept] = id
		e.actors.ended++
	}
	delete(e.actors.exposed, id)
}

func (a *actors) get() *actor.ActorSystem {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.system
}

func (a *actors) isExposed(id string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.exposed[id]
}

// hasGone is whether an actor was exposed until lately.
func (a *actors) hasGone(id string) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Contains(a.gone[:], id)
}

// claimFuture takes a future out of the registry, so that exactly one of those who want to complete it
// can: a second completion of a protoactor future is a data race. Nil if it has been completed.
func claimFuture(system *actor.ActorSystem, id string) actor.Process {
	p, _ := system.ProcessRegistry.LocalPIDs.GetBucket(id).Pop(id)
	process, _ := p.(actor.Process)
	return process
}

// remoteProcess stands for the actors of another node. PIDs keep it, so it holds no connection.
type remoteProcess struct {
	e    *Endpoint
	node string
}

// SendUserMessage queues the message for the node.
func (p *remoteProcess) SendUserMessage(pid *actor.PID, message any) {
	_, msg, sender := actor.UnwrapEnvelope(message)
	o := outgoing{target: pid, message: msg, sender: sender}
	var err error
	if o.frame, err = encodeUser(pid, sender, msg); err == nil {
		err = p.e.enqueue(p.node, o)
	}
	if err != nil {
		p.e.undeliverable(o, fmt.Errorf("to peer %s: %w", p.node, err))
	}
}

// SendSystemMessage sends what has to do with watching. Other nodes' actors cannot be stopped this way.
func (p *remoteProcess) SendSystemMessage(pid *actor.PID, message any) {
	var err error
	switch m := message.(type) {
	case *actor.Watch:
		p.e.watch(pid, m.Watcher)
	case *actor.Unwatch:
		err = p.e.unwatch(pid, m.Watcher)
	case *actor.Terminated:
		err = p.e.terminated(pid, m)
	default:
		err = errors.New("lifecycle messages do not leave their node")
	}
	if err != nil {
		p.e.c.Logger.Warn("system message not sent", "peer", p.node, "target", pid.Id,
			"message", fmt.Sprintf("%T", message), "err", err)
	}
}

// Stop is refused: actors are stopped by their own node.
func (p *remoteProcess) Stop(pid *actor.PID) {
	p.SendSystemMessage(pid, &actor.Stop{})
}

func isFuture(id string) bool { return strings.HasPrefix(id, futurePrefix) }
