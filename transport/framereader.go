package transport

import (
	"fmt"
	"io"
)

// frameReader takes what comes on a connection apart into frames. Where the connection has nothing more
// for now, it stops, anywhere in a frame, and goes on there when it is called again.
type frameReader struct {
	src   io.Reader
	limit int    // largest payload of a data frame, in bytes
	buf   []byte // what was read is buf[r:w]
	r, w  int

	begun bool // the header of a frame has been taken
	h     header
	into  []byte // where the rest of its payload goes; nil to drop it
	left  int    // bytes of the payload still to come
}

// frameHandler is the end of a link that the frames are for.
type frameHandler interface {
	// begin is called when a header has come. It says where to put the payload; nil means nowhere.
	begin(h header) (into []byte, err error)
	// end is called when the payload is there.
	end(h header) error
	// dry is called when there is nothing to read for now, and somebody is going to wait for it.
	dry() error
}

// next reads a frame.
func (f *frameReader) next(to frameHandler) (err error) {
	if !f.begun {
		if f.h, err = f.header(); err != nil {
			return err
		}
		if f.into, err = to.begin(f.h); err != nil {
			return err
		}
		f.begun, f.left = true, int(f.h.length)
	}
	if err := f.payload(); err != nil {
		if err != errNotYet {
			err = fmt.Errorf("message %d of lane %d: %w", f.h.seq, f.h.lane, err)
		}
		return err
	}
	f.begun = false
	return to.end(f.h)
}

// header reads the header of the next frame. Between frames the end of the connection is errHangup.
func (f *frameReader) header() (header, error) {
	for f.w-f.r < headerBytes {
		if f.r > 0 {
			f.w = copy(f.buf, f.buf[f.r:f.w])
			f.r = 0
		}
		n, err := f.src.Read(f.buf[f.w:])
		f.w += n
		if n == 0 && err != nil {
			if err == io.EOF && f.w == 0 {
				err = errHangup
			}
			return header{}, unexpected(err)
		}
	}
	h, err := parseHeader(f.buf[f.r:], f.limit)
	f.r += headerBytes
	return h, err
}

// payload reads what is left of a frame: straight to its place, if there is more of it than buf holds.
func (f *frameReader) payload() error {
	for f.left > 0 {
		if f.r < f.w {
			n := min(f.left, f.w-f.r)
			if f.into != nil {
				copy(f.into, f.buf[f.r:f.r+n])
			}
			f.r += n
			f.took(n)
			continue
		}
		direct := f.into != nil && f.left >= len(f.buf)
		dst := f.buf
		if direct {
			dst = f.into[:f.left]
		}
		n, err := f.src.Read(dst)
		switch {
		case n == 0 && err != nil:
			return unexpected(err)
		case direct:
			f.took(n)
		default:
			f.r, f.w = 0, n
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

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
