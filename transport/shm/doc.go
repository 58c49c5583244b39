// Package shm is memory that two processes of one machine share, and how one hands it to the other.
//
// # Memory
//
// [New] takes memory that no file system holds. Its size is sealed, so that no process that has it can shorten it while
// another reads it. It is gone when no process has it any more, however the processes end.
//
// # Streams
//
// A [Stream] is a stream of bytes in both directions through such memory: a ring for each, in which the writer counts
// what it has put in and the reader what it has taken out. A reader that finds nothing tries again, sleeps
// ([Stream.Await]) or has a bell rung ([Stream.Watch]); the writer makes a system call only for a reader that has said
// that it sleeps or watches. A writer that finds no room sleeps until there is some, or to its deadline. That the other
// process has died must be found out elsewhere ([Stream.Hangup]).
//
// # Handing over
//
// A process that has memory to share listens on a local socket, whose name is random ([Listen]). Over a connection on
// which the two have found out who the other is, it sends its peer an [Offer]: that name, a secret to ask with, and one
// to answer with. The peer asks for a piece of memory ([Fetch]); both ends check the other's secret, and that it belongs
// to the same user. On another machine, or in another network namespace, nobody listens at that name: so the peer finds
// out that they do not share a machine.
//
// Neither process trusts what the other writes: memory is bytes, to be checked like those from a network, and they may
// change while they are read.
//
// There is shared memory on Linux. Elsewhere every function says that there is none.
package shm
