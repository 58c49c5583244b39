// Package topology has the patterns in which nodes exchange the parts of a step, as functions that are
// told how to send to a node and how to receive from one. So they are the same over lanes, whatever those
// carry, and in tests.
//
//   - [Star]: one node asks several, and takes in their answers, all of them at the same time. Decode uses
//     it for attention over blocks that are on several nodes.
//   - [Belt.Shift]: every node of a ring passes something on to the next, and takes what the one before it
//     passes on. [Belt.AllGather] makes as many shifts as bring what each has past all. Prefill in ring
//     uses it for KV blocks.
//   - A pipeline's hand-over is a single Send, from the owner of some layers to the owner of the next.
//
// A [Group] is the nodes that take part, which need not be all that have the model. So patterns can be put
// together: the members of one group go round in a ring, and hand over to the members of the next.
package topology
