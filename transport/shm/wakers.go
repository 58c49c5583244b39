package shm

import "time"

// wakers are what the reader of one end of a stream is woken by.
type wakers struct {
	bell bell // while a set of descriptors watches it
	rest rest // while a thread sleeps
}

// bell is a descriptor that can be read once it was rung.
type bell int

// rest is a pair of sockets, at one of which a thread sleeps, and to the other of which is written to wake it. The system takes that for a sign that who writes is going
// to wait himself, and may have who is woken run on his core: with the words that are made for this (futex) it wakes another core for each message of a step that goes
// from node to node.
type rest struct{ here, there int }

const (
	// wakerFiles is how many files the wakers of both ends are.
	wakerFiles = 4
	// restFor is the longest sleep at a rest.
	restFor = 2 * time.Millisecond
)

// wakersIn are the wakers of end 0, which has made the stream, or 1, among its files.
func wakersIn(files []int, end int) wakers {
	return wakers{bell: bell(files[end]), rest: rest{here: files[2+end], there: files[3-end]}}
}
