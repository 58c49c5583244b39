// Package batching decides whose step begins next, and which sequences' next tokens are computed in one ([Batcher]). It is pure: events in, decisions out, no
// clock, no I/O.
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
//
// Prompts are read a part at a time, each a step of one sequence ([Prompts]). However many are read, one part more is in flight than there are nodes on the way, so that
// all are busy. What waits for a node waits here: a node takes steps in the order in which they come, so what is handed out early makes tokens wait, and runs into
// the deadline of its step. The prompts take turns, part by part, and each token of the others goes before the parts that are handed out after it.
//
// A round of ring prefill is computed by all nodes and has them to itself. While it waits for the steps in flight no other begins. When it is over all others that are ready
// have a turn, and then the next round: also where several prompts are read in rounds, those that decode have a token between any two.
package batching
