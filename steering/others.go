package steering

import (
	"math/bits"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// Others is the sequences that write tokens beside a pilot's, or read their prompts to do so. The zero value is none.
type Others struct {
	In     [placement.Ring + 1]int // how many are in each mode, or on their way to it
	Tokens int                     // in the caches of all of them, when their prompts are read
}

// Sequences is how many there are.
func (o *Others) Sequences() (n int) {
	for _, in := range o.In {
		n += in
	}
	return n
}

// steady is over how many of a sequence's tokens the number of sequences is looked at. Its median is what a pilot goes by: others that are there for less than half of that
// time do not count, however many they are, and neither does it if they are away for as long.
const steady = 64

// attendance is how many sequences there were at each of the last tokens.
type attendance struct {
	counts [steady]int
	n      int
}

// fill takes a number to have been there all the time.
func (a *attendance) fill(sequences int) {
	for i := range a.counts {
		a.counts[i] = sequences
	}
}

func (a *attendance) add(sequences int) {
	a.counts[a.n%steady] = sequences
	a.n++
}

func (a *attendance) median() int {
	sorted := a.counts
	slices.Sort(sorted[:])
	return sorted[steady/2]
}

// sizes is how many classes of numbers of sequences there are, of which lessons are learned apart: 1, 2, 3 to 4, 5 to 8, 9 to 16, and more.
const sizes = 6

func sizeOf(sequences int) int { return min(bits.Len(uint(max(sequences, 1)-1)), sizes-1) }
