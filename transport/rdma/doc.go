// Package rdma carries a stream of bytes between two nodes over RDMA: what a TCP connection does, without the
// kernel in between. A [Conn] is a net.Conn, and package transport uses one in place of the other.
//
// # From TCP to RDMA
//
// Two nodes first connect over TCP. [Provider.Upgrade], called at both ends, then agrees over that connection
// on a pair of queue pairs, connects them, and sends one message each way to see that the network
// carries it. If either end cannot, both learn why ([*Declined]) and go on with TCP. After an upgrade nothing
// more is written to the TCP connection: it stays open to show that the peer lives, and when it ends, so
// does the Conn.
//
// The adapter is the one that has the address at which the TCP connection arrives (or the one that was
// asked for by name): RoCE and Thunderbolt adapters have IP addresses as their GIDs. On InfiniBand, whose
// addresses are others, it is the first port that is active.
//
// # Messages, slots and credits
//
// Each end registers one piece of memory, cut into slots for what it sends and for what it receives. A write
// is copied to a slot, behind a header of 16 bytes, and posted as one message, or as several if it
// is larger than a slot; up to 8 are on their way at a time. Sends are used, not RDMA writes: a peer can
// put bytes only into slots that were posted for it, and learns no address and no key.
//
// A receiver always has a slot posted for each message that its peer may send. A slot that has been read is
// posted again, and owed to the peer; the debt is paid with the next message back, or with a message of
// its own when half of the slots are owed. Those messages, and the one that says goodbye, need no credit:
// receives are set aside for them. So a message never finds its receiver not ready.
//
// # Failure
//
// The status of every completion is looked at. One that is not a success breaks the connection, with an
// error that names the peer and the status ([*CompletionError]). So does a message that does not follow the
// one before it by its number, has another length than it says, or brings credits that were never owed.
// Reads and writes end at their deadlines, at Close, and when the TCP connection ends. What arrived
// before the peer closed, or went, can still be read; after an error nothing can.
//
// # Waiting
//
// A call that has to wait polls for completions for as long as [Conn.SetSpin] and its guard say, not at all by default;
// then it sleeps until the adapter's completion channel wakes it through Go's network poller. Of two calls
// that wait (a Read and a Write), one sleeps on the channel and wakes the other. Where the library has no
// channels, a sleeping call looks again after 20 µs, and then less often, up to 1 ms.
//
// # Thunderbolt
//
// The adapters of macOS have only unreliable connections, want sends and receives of the same number of
// frames of 4 KiB, and few of everything. There a slot is one frame, every message fills it, and 32
// are on their way; a message that is lost is noticed by the number of the next and ends the connection. See
// docs/rdma.md, also for what has been tried on which hardware.
package rdma
