// Package placement decides which node holds which layers and which tokens of the KV cache, so that
// everything fits at the full context before anything is loaded, or says exactly what is missing.
//
// It is pure: a [Request] (what a model takes, what nodes have, what is asked for) gives a [Plan], or
// a [*Refusal] with a table of which node lacks how much and what would make it fit. [PlaceAll]
// reserves for several modes at once, so that a model can move between them while it runs.
//
// # What is counted
//
// For node i with layers R, and T = the context rounded up to whole blocks:
//
//	weights   the layers' weights; with the first layer the embedding, with the last the head (a tied
//	          head on the same node counts its table once)
//	KV        pipeline: T tokens of the layers in R, for each sequence
//	          pooled, ring: the node's blocks of every layer, for each sequence; and of the layers
//	          that it computes (in ring only the fastest node does so alone), also the staged ones: the
//	          blocks of a chunk and the open one, which have not reached their holder (together no more
//	          than T tokens)
//	          layers that attend to a window keep it, and the staged blocks, with whoever computes
//	          them, in every mode
//	rest      what computing takes in the mode (Model.ScratchBytes, see Buffers), what keeping blocks takes
//	          besides what is in them (Model.BlockOverhead), and the process itself (Node.Runtime)
//
// A node that is given neither layers nor tokens takes nothing.
//
// # Rules
//
// Layers (pipeline and pooled) are contiguous ranges in node order. The aim is a number of layers in
// proportion to bandwidth (largest remainder); the result is, of all splits that fit, the one that
// is nearest to the aim (least sum of squared differences), found by dynamic programming over (node,
// layers placed). So nothing that could be placed is refused.
//
// Tokens (pooled and ring) go to all nodes in proportion to bandwidth as far as their memory allows:
// nodes that would overflow are filled, and the others share what is left in the same proportion
// (water-filling), in whole blocks. In pooled mode, when the split nearest to the aim leaves too
// little room for tokens, room is weighed against that distance, ever higher, until there is enough
// or not even the split that leaves most has it.
//
// In ring mode every node has all weights, or the node that cannot is refused by name.
//
// [Reservation.Refine] moves layers where predictions say that this is clearly faster.
//
// # Speed
//
// [NewCost] predicts, for a plan, what a decode step takes at any context ([Cost.Step]), what prefill
// takes ([Cost.Prefill]), how fast several sequences decode together ([Cost.Batch]), and from which context
// one mode is faster than another ([Crossover]). It knows a model by its [Work], nodes by what was measured
// of them ([Rates], [Together]) or else by bandwidth and FLOPS, and the way between two nodes as a [Link].
//
// # Switching
//
// A plan says what a node holds once a mode is in force. While a switch copies blocks, a node holds
// its old and its new ones, which can be more than either plan: [Reservation.Switch] tells whether a
// switch at a given context fits when it is made in one go.
package placement
