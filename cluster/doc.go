// Package cluster is the membership of an Orrery cluster: who is there, what it has, and how soon a
// death is known.
//
// It wraps hashicorp/memberlist, a SWIM gossip protocol (Das et al., 2002, with the Lifeguard
// extensions). Every node gossips what it offers — a [Node]: its role, transport endpoint, memory,
// bandwidth, cores, device — packed in at most 512 bytes. [Start] opens the node's own gossip
// endpoint, [Membership.Join] meets the others through seeds, and [Membership.Events] tells what
// changes.
//
// # Who is let in
//
// Everyone of a cluster has the same cluster name, protocol version and gossip key, and a name of
// its own. Each side of a join checks the other: both log one line that names the peer and the
// reason, and Join returns an error that wraps [ErrCluster], [ErrProtocol], [ErrKey] or
// [ErrNameTaken]. A name stays taken until its owner has left or was found dead, so a node that
// crashed and comes back at another address is let in about three seconds later; Join retries for longer
// than that. With a key all gossip is encrypted and authenticated (AES-GCM); a node that has several reads
// what is written with any of them, so that a cluster can pass from one key to the next while it runs.
//
// # How a death is known
//
// Each node probes another every 200 ms; one that answers neither directly, nor through others, nor
// over TCP becomes suspect, and is dead for memberlist when it has not refuted that in 1 s. Then it is
// pinged, and when it does not answer five pings in a row (0.75 s) it is reported [Lost]: 1.9 to 2.4 s after
// it stopped. A node that had no processor for that long, or is asked by one that had none, is so not taken
// for dead on a machine with much else to do.
//
// memberlist offers no way to hasten a probe, so [Membership.Hint], which the transport calls when it
// loses a connection, is a layer above it: the node is pinged at once, and if it does not answer either (0.75 s)
// it is reported Lost here, ahead of memberlist and without a word to the other nodes. It goes on being
// pinged: if it answers while memberlist still holds it for alive, it is reported as [Joined] again.
//
// memberlist does not tell its user a departure from a death. So a node that leaves says farewell
// to every member and waits, for a bounded time, for each to acknowledge before it tells memberlist:
// a death after a farewell is [Left], any other is Lost.
//
// # Events
//
// Events come in order for each node, and none is lost: when the reader is slow they are coalesced
// (two updates become one), but a death between two deliveries is always told as a death and a join.
// The queue is as long as the cluster at most, and memberlist's goroutines never wait for the reader.
package cluster
