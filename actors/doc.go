// Package actors is who does what in a cluster. The actor system is protoactor-go's.
//
// On every node that computes:
//
//	Node            supervises everything on the machine and reports what it has
//	└ LayerShard    one for each loaded model: owns the weights of the node's layers, and runs them
//	  └ SequenceShard   one for each sequence: owns this node's KV blocks of it, and their epochs
//	    └ KVBlock       the life of one block: open, sealed, moving, dropped
//
// Where a model was loaded from:
//
//	Conductor       one for each loaded model: admits sequences (package admission), batches their
//	                steps (package batching) and hands them out, holds their residence (package
//	                residence), and runs the mode switches
//
// Mailboxes carry control, as the protobuf messages of package proto, addressed by PID across the
// cluster. Tensors, and the steps themselves, go over the engine's lanes: an actor is told of a step
// only when blocks were opened or filled by it. Actors own and decide; the data that they share with
// the loops that compute is immutable.
package actors
