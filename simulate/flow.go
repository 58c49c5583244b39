package simulate

import (
	"context"

	"github.com/orrery-ai/orrery/placement"
)

// kind is what an event is.
type kind uint8

const (
	projected   kind = iota // the owner has a layer's queries, keys and values
	windowed                // the owner has attended to all that a layer attends to
	queryHead               // a query begins to arrive at a member
	query                   // a member has the query
	attended                // a member has attended to what it holds itself
	partialHead             // a member's partial result begins to arrive at its parent
	partial                 // and has arrived
	merged                  // a member has merged the results of all its children
	hiddenHead              // a hidden state begins to arrive at a stage
	hidden                  // and has arrived
	finished                // the last owner has the logits
	tokenHead               // the token begins to arrive at the first owner
	token                   // and has arrived
)

// flow is steps that go through the stages one after another, each as soon as the one before it has left:
// the one token of a decode step, or the chunks of a prompt.
type flow struct {
	*Simulation
	decode  bool
	earlier int     // tokens before those of a step
	tokens  int     // of a step
	layers  int     // that have been ended, of all steps together
	wanted  int     // of them
	now     float64 // when the last of them was ended, or in decode the step
	onLayer func()
	left    bool  // the step of decode has left the last stage
	parts   Parts // and what it waited for
}

// run runs the steps. That of decode begins at the first stage. Chunks begin everywhere at once, as in the
// middle of a prompt, and as many as there are stages, and one, are under way at any time, as in package
// actors; they end after so many layers as are wanted. It ends early, with its error, when ctx does.
func (f *flow) run(ctx context.Context) error {
	const often = 1 << 12 // events between looks at ctx
	for i := range f.nodes {
		f.nodes[i].reset()
	}
	f.layers, f.left = 0, false
	f.queue = queue{heap: f.queue.heap[:0]}
	for i := range f.stages {
		st := &f.stages[i]
		st.busy, st.waiting = false, 0
		if !f.decode {
			st.waiting = 1
		}
	}
	f.stages[0].waiting++
	for i := range f.stages {
		f.start(i, 0, none)
	}
	for n := 0; f.decode && !f.left || !f.decode && f.layers < f.wanted; n++ {
		if n%often == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f.handle(f.queue.pop())
	}
	return nil
}

func (f *flow) handle(e event) {
	i := int(e.stage)
	st := &f.stages[i]
	switch e.kind {
	case projected:
		f.attend(i, e.at, e.cause)
	case windowed:
		f.next(i, e.at, e.cause)
	case queryHead:
		e.kind = query
		f.receive(st.members[e.member], HolderPorts, e)
	case query:
		f.asked(i, e.member, e.at, e.cause)
	case attended:
		st.state[e.member].attended = true
		f.merge(i, e.member, e.at, e.cause)
	case partialHead:
		e.kind = partial
		f.receive(st.members[st.tree.parent(e.member)], portOf(st.tree.parent(e.member)), e)
	case partial:
		st.state[e.member].answered = true
		f.merge(i, st.tree.parent(e.member), e.at, e.cause)
	case merged:
		f.answer(i, e.member, e.at, e.cause)
	case hiddenHead:
		e.kind = hidden
		f.receive(int32(st.Node), HandOver, e)
	case hidden:
		st.waiting++
		f.start(i, e.at, e.cause)
	case finished:
		f.handOver(i, e.at, e.cause)
	case tokenHead:
		e.kind = token
		f.receive(int32(f.stages[0].Node), HandOver, e)
	case token:
		f.leave(e.at, e.cause)
	}
}

// portOf is the part of a step that the port of a member is.
func portOf(m int32) Part {
	if m == 0 {
		return OwnerPort
	}
	return HolderPorts
}

// start begins a stage's next step, if one is there and the one before has left.
func (f *flow) start(i int, now float64, cause int32) {
	st := &f.stages[i]
	if st.busy || st.waiting == 0 {
		return
	}
	st.busy, st.layer = true, st.Layers.First
	st.waiting--
	f.project(i, now, cause)
}

// project does a layer's matrix products, those after attention included: that they come first does not
// change their time.
func (f *flow) project(i int, now float64, cause int32) {
	st := &f.stages[i]
	done, act := f.compute(now, int32(st.Node), f.cost.Products(st.Node, st.layer, f.tokens), products, Weights, cause)
	f.queue.push(event{at: done, stage: int16(i), kind: projected, cause: act})
}

// attend begins a layer's attention: at the owner alone where nobody else holds any of it, otherwise the owner
// asks the holders.
func (f *flow) attend(i int, now float64, cause int32) {
	st := &f.stages[i]
	window := f.cost.Window(st.layer)
	if window == 0 && len(st.members) > 1 && f.earlier > 0 {
		clear(st.state)
		for m := range st.state {
			st.state[m].next, _ = st.tree.children(int32(m))
		}
		f.asked(i, 0, now, cause)
		return
	}
	keys, pairs := f.alone(window)
	done, act := f.compute(now, int32(st.Node), f.cost.Attention(st.Node, st.layer, keys, pairs), attention, KV, cause)
	f.queue.push(event{at: done, stage: int16(i), kind: windowed, cause: act})
}

// alone is what an owner attends to that holds all of a layer. A decoded token counts as one of those
// before it, as in Cost.Step.
func (f *flow) alone(window int) (keys, pairs float64) {
	if f.decode {
		seen := f.earlier
		if window > 0 {
			seen = min(seen, window)
		}
		return float64(seen), float64(seen)
	}
	seen := f.earlier + f.tokens
	if window > 0 {
		seen = min(seen, window+f.tokens)
	}
	return float64(seen), placement.Pairs(f.tokens, f.earlier, window)
}

// holds is what a member of an exchange attends to.
func (f *flow) holds(st *stage, m int32) (keys, pairs float64) {
	keys = float64(f.earlier) * f.shares[st.members[m]].TokenWeight
	pairs = keys * float64(f.tokens)
	if m == 0 && !f.decode {
		keys += float64(f.tokens)
		pairs += placement.Pairs(f.tokens, 0, 0)
	}
	return keys, pairs
}

// asked makes a member pass the query on to its children, and attend.
func (f *flow) asked(i int, m int32, now float64, cause int32) {
	st := &f.stages[i]
	at := st.members[m]
	first, end := st.tree.children(m)
	for c := first; c < end; c++ {
		f.send(now, at, st.members[c], float64(f.tokens)*float64(f.work.QueryBytes), portOf(m), Latency, event{stage: int16(i), member: c, kind: queryHead, cause: cause})
	}
	keys, pairs := f.holds(st, m)
	done, act := f.compute(now, at, f.cost.Attention(int(at), st.layer, keys, pairs), attention, KV, cause)
	f.queue.push(event{at: done, stage: int16(i), member: m, kind: attended, cause: act})
}

// merge merges what children of a member have answered, in their order, once the member has attended
// itself. After the last of them it answers.
func (f *flow) merge(i int, m int32, now float64, cause int32) {
	st := &f.stages[i]
	state := &st.state[m]
	first, end := st.tree.children(m)
	switch {
	case !state.attended || state.next == end && first < end:
		return
	case first == end:
		f.answer(i, m, now, cause)
		return
	}
	at := st.members[m]
	for state.next < end && st.state[state.next].answered {
		done, act := f.compute(now, at, f.cost.Merge(int(at), f.tokens), merging, Merge, cause)
		if state.next++; state.next == end {
			f.queue.push(event{at: done, stage: int16(i), member: m, kind: merged, cause: act})
		}
	}
}

// answer sends a member's result to its parent; that of the owner is the layer's.
func (f *flow) answer(i int, m int32, now float64, cause int32) {
	st := &f.stages[i]
	if m == 0 {
		f.next(i, now, cause)
		return
	}
	f.send(now, st.members[m], st.members[st.tree.parent(m)], float64(f.tokens)*float64(f.work.PartialBytes), portOf(m), Latency,
		event{stage: int16(i), member: m, kind: partialHead, cause: cause})
}

// next goes on with the next layer of a stage, or ends it.
func (f *flow) next(i int, now float64, cause int32) {
	st := &f.stages[i]
	f.layers, f.now = f.layers+1, now
	if f.onLayer != nil {
		f.onLayer()
	}
	if f.decode { // nothing else is under way
		f.trace.settle(cause, &f.parts)
		cause = none
	}
	if st.layer++; st.layer < st.Layers.End {
		f.project(i, now, cause)
		return
	}
	if st.Head && f.decode {
		done, act := f.compute(now, int32(st.Node), f.cost.Head(st.Node), products, Weights, cause)
		f.queue.push(event{at: done, stage: int16(i), kind: finished, cause: act})
		return
	}
	f.handOver(i, now, cause)
}

// handOver gives the hidden state to the next stage. After the last one a decoded token goes to the first
// owner, which Cost.Step takes to be as large.
func (f *flow) handOver(i int, now float64, cause int32) {
	st := &f.stages[i]
	bytes := float64(f.tokens) * float64(f.work.HiddenBytes)
	last := i == len(f.stages)-1
	switch {
	case !last:
		f.send(now, int32(st.Node), int32(f.stages[i+1].Node), bytes, HandOver, HandOver, event{stage: int16(i + 1), kind: hiddenHead, cause: cause})
	case f.decode && len(f.stages) > 1:
		f.send(now, int32(st.Node), int32(f.stages[0].Node), bytes, HandOver, HandOver, event{stage: int16(i), kind: tokenHead, cause: cause})
	default:
		f.leave(now, cause)
	}
	st.busy = false
	f.start(i, now, cause)
}

// leave ends the step of decode; a chunk makes room for another.
func (f *flow) leave(now float64, cause int32) {
	if f.decode {
		f.trace.settle(cause, &f.parts)
		f.left, f.now = true, now
		return
	}
	f.stages[0].waiting++
	f.start(0, now, none)
}
