package cpu

import "github.com/orrery-ai/orrery/device/cpu/simd"

// flushPart is how much of memory is flushed at a time.
const flushPart = 64 << 10

type flushJob struct{ b []byte }

// Flush has the processor's caches hold nothing of b, whose bytes stay what they are, and reports whether it can. All threads take part, so
// that none of them has gone to sleep when the next operation begins.
func (s *stream) Flush(b []byte) bool {
	if !simd.Flush(nil) {
		return false
	}
	const perByte = 0.05 // nanoseconds
	s.flush.b = b
	s.run(&s.flush, (len(b)+flushPart-1)/flushPart, flushPart*perByte)
	s.flush.b = nil
	return true
}

func (j *flushJob) run(first, end int, _ *worker) {
	simd.Flush(j.b[first*flushPart : min(end*flushPart, len(j.b))])
}
