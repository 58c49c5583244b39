// Package verbs is a binding of libibverbs, the library through which programs use RDMA hardware. It has
// what a connection of messages needs, and no more.
//
// The library is found when the program runs, with [Open]: libibverbs.so.1 on Linux (InfiniBand, RoCE and
// iWARP adapters), librdma.dylib on macOS 26.2 and later (RDMA over Thunderbolt 5), which has the same
// API. Where it is missing, Open says so; nothing else of the program depends on it. No cgo is used.
//
// # Objects
//
// A [Device] is opened as a [Context], which is asked about its ports and addresses. In a context there
// are a [PD] (protection domain), in which memory is registered as an [MR]; a [CQ] (completion queue),
// if wanted with a [Channel] that makes it possible to wait for completions; and a [QP] (queue pair):
// one end of a connection. A queue pair is taken through the states INIT, RTR and RTS with [QP.Init],
// [QP.Connect] and [QP.Activate]; then [QP.PostReceive] gives it buffers for what comes, [QP.PostSend]
// sends, and [CQ.Poll] tells what is done. Objects are closed in the opposite order; none is closed by
// the garbage collector. Memory given to the library has to be outside of Go's heap, and stay mapped until
// its MR is closed.
//
// # How it is bound
//
// Most verbs are functions of the library. Those of the data path, and ibv_req_notify_cq, are inline
// functions of infiniband/verbs.h: they call through a table of function pointers that lies in struct
// ibv_context and that the device's driver fills in. So this package knows the layouts of that table and
// of the structures that go through it (layout.go). They are part of the library's ABI and have been
// stable since version 1.1; a test compiles a C program against the installed header and compares every
// size, offset and constant. Posting and polling allocate nothing: 0.1 to 0.2 µs a call on top of the
// driver's work.
//
// A verb that fails gives an [*Error], with the verb and the system's error number. A work request that
// fails gives no error but a [Completion] whose Status is not [Success]: the caller has to look at each.
//
// # Concurrency
//
// The library is safe for concurrent use, but the Go objects keep the arguments of their calls: calls of
// one object must not overlap.
package verbs
