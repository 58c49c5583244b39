// Package shm is memory that two processes of one machine share, and how one hands it to the other.
//
// # Memory
//
// [New] takes memory that no file system holds. Its size is sealed, so that nobody, whoever has it, can shorten it under another who reads it. It is
// gone when nobody has it any more, however the processes end.
//
// # Streams
//
// A [Stream] is a stream of bytes in both directions through such memory: a ring for each, in which the writer counts what he has put in and the reader what he has taken
// out. Who finds nothing to read tries again, sleeps ([Stream.Await]) or has a bell rung ([Stream.Watch]); the writer makes a system call only for those who have said that they
// sleep or watch. Who finds no room sleeps until there is some, to his deadline. That the other process has died must be found out elsewhere ([Stream.Hangup]).
//
// # Handing over
//
// A process that has memory to share listens on a socket of the machine's, whose name is random ([Listen]). What it tells a peer over a connection
// on which the two have found out who the other is, is an [Offer]: that name, a secret to ask with, and one to answer with. The peer asks for a piece of
// memory ([Fetch]); both ends check the other's secret, and that it belongs to the same user. On another machine, or in another network
// namespace, nobody listens at that name, and so the peer finds out that they do not share a machine.
//
// The processes do not trust what the other writes: memory is bytes, to be checked like those from a network, and they may change while they are read.
//
// There is shared memory on Linux. Elsewhere every function says that there is none.
package shm
