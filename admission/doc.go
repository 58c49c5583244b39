// Package admission decides which sequences of a loaded model may begin, and which wait for others to end.
// It is pure: events in, decisions out, no clock, no I/O.
//
// A loaded model has memory for KV cache on several nodes. A sequence is admitted when all that it may ever
// need there, at its full context, is free on every node, and holds that until it leaves. So whoever is
// admitted never runs out of memory, however long the others become.
//
// Sequences begin in the order in which they asked. One that needs little does not overtake one that needs
// much, which would otherwise wait for ever. As many wait as were allowed for, each until its deadline.
package admission
