// Package batching decides which sequences' next tokens are computed in one step. It is pure: events in, decisions out, no clock, no I/O.
//
// A step of one token reads all weights to compute little. One that computes the next tokens of several sequences reads them once for all, so
// sequences whose next step is one token go together: those that are ready when a step may begin. None is held back for others to come.
//
// Sequences go together that go the same way: whose layers belong to the same nodes. On a way as many steps are in flight as it has nodes, so that each
// node can be at one. With N sequences, W seconds to read the weights, A seconds of attention for a sequence, and K nodes that share both evenly, all sequences
// have had a token after
//
//	W + N·A      with one step in flight: one node works at a time
//	W + N·A/K    with K of N/K sequences each: every node reads its weights K times as often, at the same time as the others
//
// So K are never worse, if the nodes do not read the same memory. Each step takes its share of the sequences, N/K, lest those that were together by chance
// remain so and the other nodes have nothing to do.
//
// Who waits has its turn in the order of becoming ready. It waits for a step in flight, which has a deadline of its own.
package batching
