package calibrate

import "time"

// A flusher is a stream of a device whose caches can be emptied. What is read then comes from memory, however little of it there is.
type flusher interface {
	// Flush has the caches hold nothing of b, and reports whether they can be emptied. With nothing to flush it only reports.
	Flush(b []byte) bool
}

// flush empties the caches of part of the arena, where that can be done.
func (b *bench) flush(part []byte) bool {
	f, ok := b.stream.(flusher)
	return ok && f.Flush(part)
}

// since is how many bytes of the arena an operation took that began at a place of it: those to its end with them, if it went on at the beginning.
func (b *bench) since(at int) int {
	if b.at > at {
		return b.at - at
	}
	return len(b.arena) - at + b.at
}

const (
	// wakesAll is how many bytes an operation reads that wakes all threads of a device, and is over long after they have woken.
	wakesAll = 2 << 20
	// asleep is after how long threads that find nothing to do have gone to sleep.
	asleep = 250 * time.Microsecond
)

// cool has what the next times that an operation runs read come from memory, where it is to: so many bytes each time. All threads of a device
// take part in flushing, and are awake after it, as long operations find them that run one after the other. Short ones may not need them, and must not
// find them so: one goes ahead of those that count, when they have gone to sleep.
func (b *bench) cool(bytes, times int, op func()) {
	if !b.cold || !b.flush(nil) {
		return
	}
	if bytes >= wakesAll {
		b.flushNext(times * bytes)
		return
	}
	b.flushNext((times + 1) * bytes)
	idle(asleep)
	op()
	b.finish()
}

// flushNext flushes so many bytes that are read next.
func (b *bench) flushNext(bytes int) {
	bytes = min(bytes, len(b.arena))
	end := min(b.at+bytes, len(b.arena))
	b.flush(b.arena[b.at:end])
	if b.at+bytes > end { // it goes on at the beginning, with all that does not fit into the rest
		b.flush(b.arena[:min(bytes, b.at)])
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
