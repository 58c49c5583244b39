// Package simulate plays decode steps and prefill on a described cluster, event by event, where package
// placement adds up formulas: with ports that serve one message after another, links whose latency varies,
// and nodes that are slower than anybody knew. It is pure: no clock, no I/O, and the same seed gives
// the same result.
//
// A [Simulation] is made of a placement.Cost, whose pieces say how long each piece of work takes on each
// node; of the kinds of [Link]; of [Noise]; and of the shape of the exchange. [Simulation.Decode] and
// [Simulation.Prefill] run it.
//
// # What takes time
//
// A node has three resources, each of which serves one thing after another in the order of asking: it
// computes, it sends, it receives. With B and F the node's bandwidth and FLOPS times their efficiency:
//
//	products      a layer's matrices, the head's     max(bytes/B, operations/F)
//	attention     to the keys that the node holds    max(KV bytes/B, operations/F)
//	merge         of one partial result              bytes of (o, m, l) of all heads / B
//	a message     occupies both ports for            per message + bytes / link bandwidth
//	              (the sender's for Sending more)
//	              and its first byte arrives after   latency + jitter
//
// so that an idle port delivers after latency + per message + bytes/bandwidth, and N messages to one node
// queue in its port. A straggler computes slower by a factor for the whole run; uneven computing and jitter
// are drawn anew each time, from exponential distributions. Stragglers are what placement does not know of:
// it gives them as many tokens as the others.
//
// # The exchange
//
// A layer's owner is the root of a tree of all holders ([Star], or k children for each member, in node
// order). The query goes down the tree; each member passes it on and attends to what it holds; partial
// results come up: a member merges those of its children, in their order, into its own, as package engine
// does for a star, and answers its parent.
//
//	star        2 latencies, (N-1) messages each way through the owner's port, N-1 merges in a row
//	k-ary tree  2 log_k N latencies, k messages each way through a port and k merges at each level
//
// # Decode and prefill
//
// A decode step goes through the owners, layer by layer. What it waited for is [Parts]: the chain of
// activities each of which began when the one before ended, back from the last, so their sum is the step.
//
// A prompt goes through the owners in chunks, all of which work at once, and in pooled mode each asks the
// holders for every layer while these have chunks of their own. In ring mode all nodes take part in
// rounds, and the KV goes round in parcels.
//
// # Against the formulas of package placement
//
// Without noise and jitter, placement.Cost.Step and a star differ by the merges, and by what overlaps: the
// formula has the bytes of all queries and of all partial results follow one another, where they are in both
// directions of a port at once. So the simulated exchange is the shorter one, by up to half of its bytes'
// time. In a context of fewer blocks than holders the simulation asks them all, and the formula those that have one.
//
// # What is left out
//
// Several sequences at once, copies of blocks, flow control (messages wait at their sender's port, never
// for the receiver's memory), links that share a switch, and losses.
package simulate
