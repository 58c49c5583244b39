package transport

import (
	"errors"
	"net"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

const (
	// maxQueued bounds the bytes of the actor messages waiting for one peer.
	maxQueued = 16 << 20
	// maxBatch bounds the bytes, and maxBatchFrames the frames, that one system call writes.
	maxBatch       = 64 << 10
	maxBatchFrames = 64
	// maxPending bounds the futures and the watches that are to be told when one peer is lost.
	maxPending = 1 << 14
	// minSweep is how many futures are noted before those that are done are looked for.
	minSweep = 64
)

var (
	errQueueFull   = errors.New("the queue of messages to it is full")
	errUnknownPeer = errors.New("its address is not known")
)

// outgoing is an actor message on its way out, and what to report if it cannot go.
type outgoing struct {
	frame   []byte // encoded, header included
	target  *actor.PID
	message any
	sender  *actor.PID // nil if nobody awaits a reply
	notice  bool       // it is about watching: there is no message, and nobody misses it
}

// request is one that was sent and not yet answered.
type request struct {
	target *actor.PID
	link   *link // on which it went
}

// remote is what an endpoint keeps for each peer to which actor messages go: the queue, its one writer,
// and who is to be told when the peer is lost.
type remote struct {
	e     *Endpoint
	node  string
	queue chan outgoing
	stop  chan struct{} // closed by end

	mu      sync.Mutex
	ended   error              // why nothing more can be queued
	queued  int                // bytes in queue
	pending map[string]request // by the id of the future that awaits the reply
	sweepAt int                // size of pending at which futures that are done are looked for
	watches map[watchKey]bool
}

// remote is the remote of a node, with its writer, made if there is none. It does no I/O.
func (e *Endpoint) remote(node string) (*remote, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.remotes[node]; r != nil {
		return r, nil
	}
	_, known := e.peers[node]
	switch {
	case e.closed:
		return nil, ErrClosed
	case !known:
		return nil, errUnknownPeer
	}
	r := &remote{
		e: e, node: node,
		queue:   make(chan outgoing, e.c.ControlQueue),
		stop:    make(chan struct{}),
		pending: make(map[string]request),
		watches: make(map[watchKey]bool),
		sweepAt: minSweep,
	}
	e.remotes[node] = r
	e.asyncLocked(r.write)
	return r, nil
}

// existingRemote is nil if nothing was ever sent to the node, or it was dropped.
func (e *Endpoint) existingRemote(node string) *remote {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.remotes[node]
}

// enqueue puts a message on the queue to a node.
func (e *Endpoint) enqueue(node string, o outgoing) error {
	r, err := e.remote(node)
	if err != nil {
		return err
	}
	return r.enqueue(o)
}

func (r *remote) enqueue(o outgoing) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return r.ended
	}
	if r.queued+len(o.frame) > maxQueued {
		return errQueueFull
	}
	select {
	case r.queue <- o:
		r.queued += len(o.frame)
		return nil
	default:
		return errQueueFull
	}
}

// end stops the writer and tells everybody. What is queued becomes undeliverable.
func (r *remote) end(cause error) {
	r.mu.Lock()
	if r.ended == nil {
		r.ended = cause
		close(r.stop)
	}
	r.mu.Unlock()
	r.failPending(nil, cause)
	r.failWatches()
}

// write is the peer's writer goroutine.
func (r *remote) write() {
	var batch []outgoing
	var frames net.Buffers
	for {
		batch = batch[:0]
		select {
		case <-r.stop:
			r.mu.Lock()
			cause := r.ended
			r.mu.Unlock()
			r.fail(r.drain(nil), cause)
			r.failPending(nil, cause) // what was written since end
			return
		case o := <-r.queue:
			batch = append(batch, o)
		}
		l, err := r.e.connect(r.node, classControl)
		if err != nil {
			// What came during the attempt shares its fate, instead of waiting for attempts of its own.
			r.fail(r.drain(batch), err)
			r.failWatches()
			continue
		}
		bytes := len(batch[0].frame)
		for more := true; more && bytes < maxBatch && len(batch) < maxBatchFrames; {
			select {
			case o := <-r.queue:
				batch = append(batch, o)
				bytes += len(o.frame)
			default:
				more = false
			}
		}
		r.dequeued(bytes)
		frames = frames[:0]
		for _, o := range batch {
			r.expectReply(o, &l.link)
			frames = append(frames, o.frame)
		}
		if err := l.writeEnvelopes(frames); err != nil {
			// Some of them may have arrived. Requesters learn that there will be no reply, whatever happened.
			for _, o := range batch {
				r.e.undeliverable(o, &ErrPeerLost{Node: r.node, Cause: err})
			}
			continue
		}
		r.e.traffic[Control].messagesOut.Add(uint64(len(batch)))
		r.e.traffic[Control].bytesOut.Add(uint64(bytes - headerBytes*len(batch)))
		clear(batch)
	}
}

// drain appends all that is queued.
func (r *remote) drain(batch []outgoing) []outgoing {
	for {
		select {
		case o := <-r.queue:
			batch = append(batch, o)
		default:
			return batch
		}
	}
}

// fail reports messages that were taken from the queue and not written.
func (r *remote) fail(batch []outgoing, cause error) {
	for _, o := range batch {
		r.dequeued(len(o.frame))
		r.e.undeliverable(o, &ErrPeerLost{Node: r.node, Cause: cause})
	}
}

func (r *remote) dequeued(bytes int) {
	r.mu.Lock()
	r.queued -= bytes
	r.mu.Unlock()
}

// expectReply notes the future that awaits the reply to o, so that it fails when l is lost.
func (r *remote) expectReply(o outgoing, l *link) {
	if o.sender == nil || o.sender.Address != r.e.c.Node || !isFuture(o.sender.Id) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) >= r.sweepAt {
		system := r.e.actors.get()
		for id := range r.pending {
			if _, waits := system.ProcessRegistry.GetLocal(id); !waits {
				delete(r.pending, id)
			}
		}
		r.sweepAt = max(minSweep, 2*len(r.pending))
	}
	if len(r.pending) < maxPending {
		r.pending[o.sender.Id] = request{o.target, l}
	}
}

// replied says that a future needs no news of the peer any more.
func (r *remote) replied(future string) {
	r.mu.Lock()
	delete(r.pending, future)
	r.mu.Unlock()
}

// failPending tells those who await replies to requests that went over l, or over any link if l is nil,
// that the peer is gone.
func (r *remote) failPending(l *link, cause error) {
	failed := make(map[string]*actor.PID)
	r.mu.Lock()
	for id, q := range r.pending {
		if l == nil || l == q.link {
			failed[id] = q.target
			delete(r.pending, id)
		}
	}
	r.mu.Unlock()
	for id, target := range failed {
		r.e.failFuture(id, &Undeliverable{Target: target, Err: &ErrPeerLost{Node: r.node, Cause: cause}})
	}
}

// failWatches tells those who watch actors of the peer that it is gone.
func (r *remote) failWatches() {
	r.mu.Lock()
	watches := r.watches
	r.watches = make(map[watchKey]bool)
	r.mu.Unlock()
	for k := range watches {
		r.e.tellTerminated(r.node, k, actor.TerminatedReason_AddressTerminated)
	}
}

// controlLost is called when a control link has ended. That of the way out takes the requests that went
// over it. Either may have taken the news of an actor's end, for which there is no second time.
func (e *Endpoint) controlLost(l *link, outbound bool, cause error) {
	r := e.existingRemote(l.node)
	if r == nil {
		return
	}
	if outbound {
		r.failPending(l, cause)
	}
	r.failWatches()
}
