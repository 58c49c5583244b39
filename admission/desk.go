package admission

import (
	"fmt"
	"slices"
	"time"
)

// Desk admits the sequences of one loaded model.
type Desk struct {
	free    []int64 // bytes of each node
	open    map[uint64][]int64
	waiting []Request
	most    int // that may wait
}

// Request is a sequence that wants to begin.
type Request struct {
	ID    uint64    // unique
	Needs []int64   // bytes that it may ever hold on each node
	Until time.Time // it waits no longer than this
}

// Verdict is what becomes of a request.
type Verdict uint8

// The verdicts.
const (
	Admitted Verdict = iota + 1 // it may begin
	Waits                       // it begins when Leave names it, unless Expire does before
	TooMany                     // as many wait already as may
	TooLarge                    // it would not fit even if it were alone
)

var verdicts = [...]string{Admitted: "admitted", Waits: "waits", TooMany: "too many wait", TooLarge: "too large"}

// String describes the verdict.
func (v Verdict) String() string {
	if v < Admitted || v > TooLarge {
		return fmt.Sprintf("verdict(%d)", uint8(v))
	}
	return verdicts[v]
}

// NewDesk admits to so many bytes on each node, and lets at most so many requests wait.
func NewDesk(room []int64, waiting int) *Desk {
	return &Desk{free: slices.Clone(room), open: map[uint64][]int64{}, most: waiting}
}

// Ask admits a request, lets it wait, or refuses it.
func (d *Desk) Ask(r Request) Verdict {
	switch {
	case !d.everFits(r.Needs):
		return TooLarge
	case len(d.waiting) == 0 && d.Fits(r.Needs):
		d.admit(r)
		return Admitted
	case len(d.waiting) >= d.most:
		return TooMany
	}
	d.waiting = append(d.waiting, r)
	return Waits
}

// Leave takes a sequence off the desk, whether it was admitted or waits, and admits whoever has room now, in
// order.
func (d *Desk) Leave(id uint64) (admitted []uint64) {
	d.waiting = slices.DeleteFunc(d.waiting, func(r Request) bool { return r.ID == id })
	for n, bytes := range d.open[id] {
		d.free[n] += bytes
	}
	delete(d.open, id)
	return d.advance()
}

// Expire lets go who has waited until now, and admits whoever they stood before, if there is room.
func (d *Desk) Expire(now time.Time) (expired, admitted []uint64) {
	d.waiting = slices.DeleteFunc(d.waiting, func(r Request) bool {
		late := !r.Until.After(now)
		if late {
			expired = append(expired, r.ID)
		}
		return late
	})
	return expired, d.advance()
}

func (d *Desk) advance() (admitted []uint64) {
	for len(d.waiting) > 0 && d.Fits(d.waiting[0].Needs) {
		d.admit(d.waiting[0])
		admitted = append(admitted, d.waiting[0].ID)
		d.waiting = d.waiting[1:]
	}
	return admitted
}

func (d *Desk) admit(r Request) {
	for n, bytes := range r.Needs {
		d.free[n] -= bytes
	}
	d.open[r.ID] = r.Needs
}

// Fits reports whether so many bytes are free on each node.
func (d *Desk) Fits(needs []int64) bool {
	for n, bytes := range needs {
		if bytes > d.free[n] {
			return false
		}
	}
	return true
}

// everFits reports whether so many bytes are free on each node when nobody is admitted.
func (d *Desk) everFits(needs []int64) bool {
	for n, bytes := range needs {
		room := d.free[n]
		for _, held := range d.open {
			room += held[n]
		}
		if bytes > room {
			return false
		}
	}
	return true
}

// Open is the number of sequences that were admitted and have not left.
func (d *Desk) Open() int { return len(d.open) }

// Waiting is the number of requests that wait.
func (d *Desk) Waiting() int { return len(d.waiting) }
