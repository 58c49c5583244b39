package calibrate

import (
	"time"

	"github.com/orrery-ai/orrery/device"
)

// A flusher is a stream of a device whose caches can be emptied. So what is read next comes from memory, however little of it there is.
type flusher interface {
	// Flush has the caches hold nothing of b, and reports whether they can be emptied. With nothing to flush it only reports.
	Flush(b []byte) bool
}

// mostFor is how large an arena to take of a device: more than caches hold, unless they can be emptied.
func mostFor(d device.Device) int {
	s := d.NewStream()
	defer s.Close()
	if f, ok := s.(flusher); ok && f.Flush(nil) {
		return flushArena
	}
	return mostArena
}

// flush empties the caches of part of the arena, where that can be done.
func (b *bench) flush(part []byte) bool {
	f, ok := b.stream.(flusher)
	return ok && f.Flush(part)
}

// flushes reports whether what is read is to come from memory, and can be made to.
func (b *bench) flushes() bool { return b.cold && b.flush(nil) }

// since is how many bytes of the arena were taken, one after the other, by an operation that began at a place of it.
func (b *bench) since(at int) int {
	n := b.at - at
	if n <= 0 && at > 0 {
		n += len(b.arena)
	}
	return n
}

// cool has so many bytes that are read next come from memory.
func (b *bench) cool(bytes int) {
	if !b.flushes() {
		return
	}
	bytes = min(bytes, len(b.arena))
	end := min(b.at+bytes, len(b.arena))
	b.flush(b.arena[b.at:end])
	if b.at+bytes > end { // it goes on at the beginning, with all that does not fit into the rest
		b.flush(b.arena[:min(bytes, b.at)])
	}
	for _, o := range b.beside {
		o.cool(bytes)
	}
}

// bandwidth is how fast memory can be read.
func (b *bench) bandwidth(within time.Duration) (float64, error) {
	if !b.flush(nil) {
		return b.Bandwidth(b.arena, within)
	}
	read, took := 0.0, 0.0
	for start := time.Now(); read == 0 || time.Since(start) < within; {
		b.flush(b.arena)
		rate, err := b.Bandwidth(b.arena, 0)
		if err != nil {
			return 0, err
		}
		read += float64(len(b.arena))
		took += float64(len(b.arena)) / rate
	}
	return read / took, nil
}
