package calibrate

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// A node that chooses tokens by itself goes on with the next step at once, which it was handed while it computed. What it takes then is to wake who
// waits for the token, and to be interrupted by his next message. It is measured as the difference that this makes to pieces of work.

const (
	pieces    = 24 // of work, with messages and without
	pieceFor  = 300 * time.Microsecond
	tellBytes = 128 // about a message of a step, and of its result
)

// telling has the other node work, and hands it each piece while it is at the one before.
func (p *prober) telling() (time.Duration, error) {
	p.parcel[0], p.parcel[1] = working, pieces
	for range 3 { // what to do, the first piece, and the one that is handed out ahead
		if err := p.out.Send(p.deadline, p.parcel[:tellBytes]); err != nil {
			return 0, err
		}
	}
	for told := 1; ; told++ {
		m, err := p.in.Receive(p.deadline)
		if err != nil {
			return 0, err
		}
		if told > pieces {
			defer m.Release()
			if len(m.Bytes) != 8 {
				return 0, errors.New("a node does not say what telling of its work took it")
			}
			return time.Duration(binary.LittleEndian.Uint64(m.Bytes)), nil
		}
		m.Release()
		if told+2 <= pieces {
			if err := p.out.Send(p.deadline, p.parcel[:tellBytes]); err != nil {
				return 0, err
			}
		}
	}
}

// work computes pieces alone, and then one for each message, which it tells of.
func (e *Echo) work(deadline time.Time, pieces int) error {
	effort := 1 << 10
	for start := time.Now(); ; start = time.Now() {
		if toil(effort); time.Since(start) > pieceFor/2 || time.Now().After(deadline) {
			break
		}
		effort *= 2
	}
	var alone, told []time.Duration
	began := time.Now()
	took := func() time.Duration {
		now := time.Now()
		d := now.Sub(began)
		began = now
		return d
	}
	for range pieces {
		toil(effort)
		alone = append(alone, took())
	}
	var message [tellBytes]byte
	for range pieces {
		m, err := e.in.Receive(deadline)
		if err != nil {
			return err
		}
		m.Release()
		toil(effort)
		if err := e.out.Send(deadline, message[:]); err != nil {
			return err
		}
		told = append(told, took())
	}
	slices.Sort(alone)
	slices.Sort(told)
	more := max(told[pieces/2]-alone[pieces/2], 0)
	return e.out.Send(deadline, binary.LittleEndian.AppendUint64(nil, uint64(more)))
}

// toil computes, in registers. What comes of it is of no use, and not inlined, lest the compiler see that.
//
//go:noinline
func toil(effort int) uint64 {
	x := uint64(effort) | 1
	for range effort {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}
