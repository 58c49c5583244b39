// Package transport moves tensors and actor messages between the nodes of a cluster, over TCP or RDMA, or
// between nodes of one machine through memory that they share.
//
// An [Endpoint] is a node's end of all its connections. For each ordered pair of nodes there are up to
// three, made on first use by the node that sends: one for actor messages, one for small tensors, on
// which a step waits, and one for bulk (KV blocks). The way back carries only credits and refusals.
//
// # Lanes
//
// A lane is a one-directional channel for messages of one [Purpose] and one loading of a model, agreed on
// before it is used: the receiving node registers an [Endpoint.Receiver], then the sending node opens its
// [Endpoint.Sender]. A message is bytes, up to a size that both agree on. A lane from a node to itself
// works the same, without a socket.
//
// Send writes in the caller's goroutine, headers and payload in one system call, without copying; of bulk
// up to 256 KiB in one. At the other end the goroutine that reads the connection puts the bytes into one of two
// buffers of the lane, several frames in one system call where a message has several, and wakes the consumer
// once, when the message is whole; the buffer is the consumer's until [Message.Release]. Neither end allocates
// in steady state.
//
// Messages travel in frames of at most 64 KiB. A lane may have 8 of them on the way or waiting at the
// receiver; more need credits, which the receiver gives as its consumer makes room. So a slow consumer
// stops the writer of its own lane and no other, and a lane holds at most two messages and 8 frames.
// Lanes that share a connection take turns in the order in which they asked: of a frame, or of up to 256 KiB
// on the connection for bulk.
//
// The window bounds what is on the way, so that these connections are taken off TCP congestion controls that pace
// (package internal/pacing): they would hold back a lane that waits for credits for good.
//
// Frames carry checksums ([Checksums]) where they cross a network without TLS. Package transport/fault damages
// connections for tests; docs/transport.md has what was measured.
//
// # RDMA
//
// With Config.RDMA a connection of two nodes that both offer it moves to RDMA after the hello; see package
// transport/rdma. Where that fails it stays with TCP, and both ends log why. Lanes behave the same over either.
//
// # Shared memory
//
// Between processes of one user on one machine a connection for small messages or for bulk goes on, after the hellos,
// through memory that both have mapped: see package transport/shm. The node that was dialled makes the memory. The other
// asks for it with a secret from the answer to its hello, and then says on the connection that it goes on there. If it
// does not get the memory, the connection stays what it is, and the log says why. Frames, credits and all that follows
// from them are the same; a reader spins on that memory, or sleeps until it is woken. The connection stays open, and
// empty; when it ends, so does the link.
//
// Devices that exchange by themselves ([Endpoint.Inbox], [Endpoint.Outbox]) do without frames, where both ends are
// [Fast]: the lane's slots are in memory of the receiver's, which the sender asks for likewise. The connection says that
// the lane is open, and when it ends or the peer has gone; the Inbox keeps its deadlines. Config.NoSharedMemory turns
// all of it off, and [Endpoint.Ways] says what is used with whom.
//
// # Failure
//
// Every wait ends: at its deadline, with [ErrTimeout]; when the connection breaks or [Endpoint.DropPeer] says
// that the peer is dead, with [ErrPeerLost]; or when this end is closed, with [ErrClosed]. A lane that has
// failed stays so: the state of a message of which half was sent is not guessed at. New lanes, for a new
// loading of the model, can be opened over a fresh connection. A peer that freezes without closing its sockets
// is noticed by deadlines, and by membership, which calls DropPeer.
//
// A peer that breaks the protocol loses the connection, and both ends log why. What comes from the
// network is bounded before it is believed: hellos in time and number, frames and messages in size, lanes
// and connections in number.
//
// # Security
//
// With a Config.Identity every connection is mutual TLS 1.3. The hello follows the handshake, and names no
// other node than the certificate does, in both directions. An endpoint looks at the first bytes of a
// connection: to a peer that begins without TLS it answers, in a plain hello, that it wants TLS, and one
// without an identity tells a peer that wants TLS that it has none. So both ends know, and log, what is
// wrong. Under TLS a frame is written in whole records, header and payload together.
//
// # Actors
//
// [Endpoint.AttachActors] joins a protoactor-go actor system to those of the other nodes: actor.NewPID
// with a node's name reaches every actor that the node has exposed with [Endpoint.Expose], and no other.
// Messages are protobuf. One that cannot be sent becomes a dead letter, and a request is then answered at
// once with an [Undeliverable]; [Answer] makes that an error. Actors can be watched from other nodes.
package transport
