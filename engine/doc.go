// Package engine runs the steps of a loaded model on one node.
//
// There is one decode algorithm and no mode in it. For each layer the owner computes Q, K and V,
// appends K and V to its open blocks, sends Q to whichever nodes hold earlier blocks in the step's
// epoch, attends to what it holds itself, and merges the parts that come back, in the order of the
// nodes ([Engine] in chunk.go and exchange.go; the answering side is serve.go). If the owner holds
// everything, nothing is sent: that is pipeline. If blocks are spread, it is pooled. When the node's
// layers are done the hidden state goes to the owner of the next ones.
//
// Where the devices of both ends make exchanges by themselves, a step of few tokens is recorded ahead with them, by the owner and by the
// holders, to whom it is announced; the hosts carry the messages and nobody's compute thread waits for one (ahead.go). A step of one
// token then goes from owner to owner by their devices, too (link.go), and the next one is recorded while it runs (flight.go), as far as
// is known what it will be (succession.go).
//
// The next tokens of several sequences make one step, whose rows go through the weights together, and attend each by its own sequence's
// table (batch.go, batchask.go, batchahead.go).
//
// Only prefill in ring differs (ring.go): each node computes its own tokens through all layers, and
// for each layer the KV blocks go round, one hop at a time, the transfer of one overlapping the
// computation on another.
//
// Tensors travel over transport's lanes, one for each purpose and ordered pair of nodes, opened when
// the model is loaded. Every message carries the sequence, step and epoch it belongs to, so what a
// failed step left behind is recognised and dropped.
//
// The [Driver] is the other end: it hands steps to the nodes and receives their results.
package engine
