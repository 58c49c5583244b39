// Package residence decides where the KV cache of one sequence lives, and how that changes while
// tokens keep coming. It is pure: events in, actions out, no clock, no I/O, no goroutine.
//
// # Epochs
//
// The KV cache of a sequence is a rectangle, layers × tokens. An [Epoch] is one complete answer to
// "who answers for what": which node runs each layer ([Owner]), and which node holds each sealed part
// of the rectangle ([Holding]). The holdings tile layers × [0, Covered) exactly; every token from
// Covered on, the open block included, is with the owner of its layer. So each (layer, token) has
// exactly one holder in every epoch, and nothing is counted twice or missed. A step names the epoch
// it runs in.
//
// # Modes are targets
//
// A mode says nothing about how attention is computed, only where blocks should be ([Policy]): with
// their layer's owner in pipeline, spread over the nodes by bandwidth in pooled and ring. The
// [Machine] compares the epoch in force with the target and asks for the copies that are missing.
// When they are all in place it announces the next epoch; when every node has taken it up, new steps
// run in it; when no step of an older epoch is in flight, the old copies go. A mode switch, the
// routine spreading of freshly sealed blocks, and the tidying up after a switch are this one rule.
//
// # Owners change between steps
//
// When a switch gives a layer to another node, its open block must not grow in two places. The
// machine lets the steps in flight finish, closes the open block at the length reached (a short
// block, which stays with its old owner and answers from there), and announces. Only that
// announcement, one message there and back, stands between two tokens. The short block follows to
// its target in a later epoch.
//
// # Failure
//
// Copies are new until an epoch uses them, so a failure at any point leaves the epoch in force as it
// was: the machine says why, and has the copies discarded. Numbers of failed epochs are not used again.
package residence
