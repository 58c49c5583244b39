package model

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/offheap"
)

// settled is the pieces of a model's files, by address, that huge pages have been put in the place of. Decoders with layers in common share them.
type settled struct {
	mu     sync.Mutex
	pieces map[uintptr]bool
}

// claim reports whether a piece is still to be replaced, by who asks.
func (s *settled) claim(address uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pieces == nil {
		s.pieces = map[uintptr]bool{}
	}
	had := s.pieces[address]
	s.pieces[address] = true
	return !had
}

// Settle puts huge pages in the place of those of the model's files, mapped or part of the program, that the decoder's weights lie in, if the device reads them there: it then reads them faster. It may be called
// once after Load and runs on the caller until done, or until ctx is, whose error it returns: half of the time it rests, beside steps nine tenths. Bytes and addresses
// stay as they are. An error, of which [offheap.ErrNoHugePages] is one, leaves the rest where it was. Unload must wait until it has returned.
func (d *Decoder) Settle(ctx context.Context) error {
	for _, file := range d.files {
		for _, b := range joined(within(file, d.inPlace)) {
			if err := d.settle(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Decoder) settle(ctx context.Context, b []byte) error {
	r, err := offheap.Replace(b)
	if err != nil {
		return fmt.Errorf("weights in huge pages: %w", err)
	}
	defer r.End()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i := range r.Len() {
		if !d.settled.claim(r.Address(i)) {
			continue
		}
		start := time.Now()
		if err := r.Piece(i); err != nil {
			return fmt.Errorf("weights in huge pages: %w", err)
		}
		pause.Reset(time.Since(start) * d.restFor())
		select {
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// restFor is how many times as long as a piece took it is to rest: after it the processor's memory belongs to steps, if there are any.
func (d *Decoder) restFor() time.Duration {
	if d.busy.Swap(false) {
		return 9
	}
	return 1
}

// lies notes where the data of a matrix lie, if the device uses them there.
func (d *Decoder) lies(m, loaded *device.Matrix) {
	if unsafe.SliceData(m.Data) == unsafe.SliceData(loaded.Data) {
		d.inPlace = append(d.inPlace, m.Data, m.Scales, m.Biases)
	}
}

// within is those parts that lie in all.
func within(all []byte, parts [][]byte) (out [][]byte) {
	for _, b := range parts {
		if first := address(b) - address(all); len(b) > 0 && address(b) >= address(all) && first+uintptr(len(b)) <= uintptr(len(all)) {
			out = append(out, b)
		}
	}
	return out
}

// joinWithin is how far apart matrices may be to be taken together: what lies between those of a layer is its norms and biases.
const joinWithin = 64 << 10

// joined is the memory of parts of a file, with those that are neighbours taken together, and each only once.
func joined(parts [][]byte) [][]byte {
	slices.SortFunc(parts, func(a, b []byte) int { return cmp.Compare(address(a), address(b)) })
	var out [][]byte
	for _, b := range parts {
		if n := len(out); n > 0 {
			last := out[n-1]
			if gap := int(address(b)) - int(address(last)) - len(last); gap <= joinWithin {
				out[n-1] = unsafe.Slice(unsafe.SliceData(last), max(len(last), len(last)+gap+len(b)))
				continue
			}
		}
		out = append(out, b)
	}
	return out
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
