package transport

const (
	// writeBytes is the most that one system call writes. More hardly saves anything, and what shares the
	// connection waits for it.
	writeBytes = 256 << 10
	// readBytes is the most that one reads, if a frame is not larger: what the sender gets credits for. With more
	// he has used up his window before he hears of them, and has to be woken.
	readBytes   = 128 << 10
	aheadFrames = 16
	// spillBytes is the most that was guessed wrong: what was read ahead, its headers, and a read buffer.
	spillBytes = readBytes + aheadFrames*mostHead + mostBuffer
)

// readAhead reads several frames of a message in one system call, each header to a place of its own and each
// payload to where it belongs, on the guess that the message goes on as it has begun. Who guesses wrong has
// to copy what came: so more is read ahead the more often the guess was right, and nothing where lanes
// take turns.
type readAhead struct {
	frames int    // that may be read ahead
	lane   uint32 // of the last frame

	heads  []byte   // places for aheadFrames headers, of mostHead bytes
	pieces [][]byte // of the last call
	bytes  int      // that it read and that are not yet taken: first header number next, then its payload, ...
	next   int
	count  int    // headers that were expected
	rest   []byte // where the payloads of header number next and the following were expected to go
	size   int    // of a payload; the last one may be shorter
	head   int    // of a header
	spill  []byte // what came otherwise, in order
}

// follow is told of every frame.
func (a *readAhead) follow(h header) {
	if h.kind == frameData && h.lane == a.lane {
		a.frames = min(2*a.frames+1, aheadFrames)
	} else {
		a.frames, a.lane = 0, h.lane
	}
}

// plan is where the next bytes should go: the rest of a frame to into[:left], what follows it up to the
// end of into's capacity, and the start of what comes then to buf. Frames are of size bytes, behind headers of
// head bytes.
func (a *readAhead) plan(into []byte, left, size, head int, buf []byte) [][]byte {
	a.rest, a.size, a.head, a.next, a.count = into[left:cap(into)], size, head, 0, 0
	a.pieces = append(a.pieces[:0], into[:left])
	most := min(a.frames, (readBytes-left)/size)
	for rest := a.rest; len(rest) > 0 && a.count < most; a.count++ {
		if a.heads == nil {
			a.heads = make([]byte, aheadFrames*mostHead)
		}
		n := min(size, len(rest))
		a.pieces = append(a.pieces, a.place(a.count), rest[:n])
		rest = rest[n:]
	}
	a.pieces = append(a.pieces, buf)
	return a.pieces
}

// place is where header number i goes.
func (a *readAhead) place(i int) []byte { return a.heads[i*mostHead:][:a.head] }

// header takes a header, and says where its payload should be. If there is no whole header left, guess is
// nil, and head is the part of one that there is; none if what is left went to the buffer.
func (a *readAhead) header() (head, guess []byte) {
	if a.next == a.count {
		return nil, nil
	}
	head = a.place(a.next)
	if a.bytes < len(head) {
		return head[:a.bytes], nil
	}
	guess = a.rest[:min(a.size, len(a.rest))]
	a.next++
	a.take(len(head))
	a.rest = a.rest[len(guess):]
	return head, guess
}

// take takes up to n bytes, and says how many.
func (a *readAhead) take(n int) int {
	n = min(n, a.bytes)
	a.bytes -= n
	return n
}

// gather takes everything, and puts it together: what was read to the place of a payload, and what came
// after it, of which the last went to buf.
func (a *readAhead) gather(payload, buf []byte) []byte {
	if a.spill == nil {
		a.spill = make([]byte, 0, spillBytes)
	}
	a.spill = a.spill[:0]
	add := func(b []byte) { a.spill = append(a.spill, b[:a.take(len(b))]...) }
	for add(payload); a.bytes > 0 && a.next < a.count; a.next++ {
		add(a.place(a.next))
		n := min(a.size, len(a.rest))
		add(a.rest[:n])
		a.rest = a.rest[n:]
	}
	add(buf)
	return a.spill
}
