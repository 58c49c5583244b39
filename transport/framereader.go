package transport

import (
	"fmt"
	"io"
	"unsafe"
)

// frameReader takes what comes on a connection apart into frames. Where the connection has nothing more
// for now, it stops, anywhere in a frame, and goes on there when it is called again.
type frameReader struct {
	src   io.Reader
	many  vectored // src, if it can fill several pieces of memory in one call; else nil
	limit int      // largest payload of a data frame, in bytes
	head  int      // bytes before the payload of a frame: headerBytes or, with checksums, mostHead
	buf   []byte
	data  []byte // what was read and not yet taken: a part of buf, or of ahead.spill

	begun bool // the header of a frame has been taken
	h     header
	into  []byte // where the rest of its payload goes; nil to drop it
	left  int    // bytes of the payload still to come
	whole []byte // where all of its payload goes
	err   error  // after which nothing more is read
	sum   uint32 // that it must have, if there are checksums
	ahead readAhead
}

// vectored is a connection that reads into several pieces of memory, one after another.
type vectored interface {
	readv(pieces [][]byte) (int, error)
}

// frameHandler is the end of a link that the frames are for.
type frameHandler interface {
	// begin is called when a header has come. It says where to put the payload; nil means nowhere. What
	// into has beyond its length, up to its capacity, is where the payloads of the next frames would go,
	// if they went on with the message. It may be written to on that guess.
	begin(h header) (into []byte, err error)
	// end is called when the payload is there.
	end(h header) error
	// dry is called when there is nothing to read for now, and somebody is going to wait for it.
	dry() error
}

// next reads a frame. An error other than errNotYet is the last word: who reads the connection next, before all
// know that it has failed, gets it as well.
func (f *frameReader) next(to frameHandler) error {
	if f.err != nil {
		return f.err
	}
	err := f.read(to)
	if err != nil && err != errNotYet {
		f.err = err
	}
	return err
}

func (f *frameReader) read(to frameHandler) (err error) {
	if !f.begun {
		guess, err := f.header()
		if err != nil {
			return err
		}
		if f.into, err = to.begin(f.h); err != nil {
			return err
		}
		f.begun, f.left, f.whole = true, int(f.h.length), f.into
		if guess != nil {
			f.confirm(guess)
		}
		f.ahead.follow(f.h)
	}
	if err := f.payload(); err != nil {
		if err != errNotYet {
			err = fmt.Errorf("message %d of lane %d: %w", f.h.seq, f.h.lane, err)
		}
		return err
	}
	f.begun = false
	if f.head == mostHead && f.whole != nil && addSum(0, f.whole[:f.h.length]) != f.sum {
		return fmt.Errorf("message %d of lane %d: %w", f.h.seq, f.h.lane, ErrChecksum)
	}
	return to.end(f.h)
}

// header reads the header of the next frame into h. If it was read ahead, guess is where its payload was
// expected to go. Between frames the end of the connection is errHangup.
func (f *frameReader) header() (guess []byte, err error) {
	a := &f.ahead
	if f.many != nil && a.bytes+len(f.data) == 0 && a.frames > 0 && cap(f.into) > 0 { // in a message that may go on
		n, err := f.many.readv(a.plan(f.into, 0, int(f.h.length), f.head, f.buf))
		if n == 0 && err != nil {
			return nil, hungUp(err)
		}
		a.bytes = n
	}
	if a.bytes > 0 {
		var b []byte
		if b, guess = a.header(); guess != nil {
			return guess, f.parse(b)
		}
		if len(b) > 0 { // a part of a header; else it is all in buf
			copy(f.buf, b)
		}
		f.data = f.buf[:a.bytes]
		a.bytes = 0
	}
	for len(f.data) < f.head {
		have := copy(f.buf, f.data)
		n, err := f.src.Read(f.buf[have:])
		f.data = f.buf[:have+n]
		switch {
		case n > 0 || err == nil:
		case have == 0:
			return nil, hungUp(err)
		default:
			return nil, unexpected(err)
		}
	}
	err = f.parse(f.data)
	f.data = f.data[f.head:]
	return nil, err
}

// parse takes in what comes before the payload of a frame.
func (f *frameReader) parse(head []byte) (err error) {
	if f.head == mostHead {
		if f.sum, err = checkHead(head); err != nil {
			return err
		}
	}
	f.h, err = parseHeader(head, f.limit)
	return err
}

// confirm looks whether the payload of the frame that has begun goes where it was read to. If not, what was
// read is put in order.
func (f *frameReader) confirm(guess []byte) {
	if f.h.kind == frameData && len(f.into) == len(guess) && unsafe.SliceData(f.into) == unsafe.SliceData(guess) {
		f.took(f.ahead.take(len(guess)))
	} else {
		f.data = f.ahead.gather(guess, f.buf)
	}
}

// payload reads what is left of a frame: straight to its place, if there is more of it than buf holds.
func (f *frameReader) payload() error {
	for f.left > 0 {
		if len(f.data) > 0 {
			n := min(f.left, len(f.data))
			if f.into != nil {
				copy(f.into, f.data[:n])
			}
			f.data = f.data[n:]
			f.took(n)
			continue
		}
		direct := f.into != nil && f.left >= len(f.buf)
		var n int
		var err error
		switch {
		case direct && f.many != nil:
			n, err = f.many.readv(f.ahead.plan(f.into, f.left, int(f.h.length), f.head, f.buf))
			f.ahead.bytes = max(n-f.left, 0)
			n = min(n, f.left)
		case direct:
			n, err = f.src.Read(f.into[:f.left])
		default:
			n, err = f.src.Read(f.buf)
		}
		switch {
		case n == 0 && err != nil:
			return unexpected(err)
		case direct:
			f.took(n)
		default:
			f.data = f.buf[:n]
		}
	}
	return nil
}

func (f *frameReader) took(n int) {
	f.left -= n
	if f.into != nil {
		f.into = f.into[n:]
	}
}

// hungUp is an error between two frames.
func hungUp(err error) error {
	if err == io.EOF {
		return errHangup
	}
	return err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
