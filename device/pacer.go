package device

// Pacer is a Stream whose device tells how far it has come, so that the host can record a step while the one before still runs. With a Stream that is
// none the host waits for each step before it records the next.
type Pacer interface {
	Stream
	// EmbedChosen is Embed of ids that lie in the device's memory, as Argmax writes them: who records does not know them yet. One that is not in the table is
	// taken for 0.
	EmbedChosen(dst Tensor, table Matrix, ids []int32)
	// Part ends a part of what is recorded: what Download returned in it holds the data once WaitPart has returned for it, until the end of the part after the next. At most two
	// parts may have ended and not been waited for, and then nothing is recorded until one is. It reports whether the device can do that; else it did nothing.
	Part() bool
	// Passed reports, without waiting, whether the first of the parts that were not waited for has run, or cannot.
	Passed() bool
	// WaitPart returns when the first of the parts that were not waited for has run, or with the error that stopped it.
	WaitPart() error
}
