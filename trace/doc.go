// Package trace shows what the nodes of a cluster did during a generation, and when: computing, waiting, sending,
// for each layer of each token.
//
// A node that is traced has a [Recorder], a ring of fixed-size [Span] records that any goroutine adds to without a
// lock and without allocating; one that is not traced has a nil *Recorder, on which the same calls are a comparison
// and nothing else. Who collects reads a ring in pages ([Recorder.Page]), as [AppendSpans] packs them, and has to
// bring the clocks of the nodes together: [Align] estimates how far a clock is off, and by how much that may be wrong.
//
// The spans of all nodes are a [Trace]. It writes itself as Chrome trace events, which ui.perfetto.dev and
// chrome://tracing show ([Trace.WriteChrome]); [Trace.Decoding] tells what each node did in the time of each token,
// and what of it was orchestration, and [Trace.Transfers] what of the moving of KV blocks was hidden behind computing.
//
// Spans of one [Track] are of one goroutine, or of several that take turns: they nest, or do not overlap. Of the kinds
// that several goroutines record at once, Job, Step, Switch and Copy, nothing of the sort can be said.
package trace
