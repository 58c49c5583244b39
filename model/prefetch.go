package model

import (
	"context"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// prefetchChunk is how much is asked for at a time: enough for a disk to run at full speed, little
// enough to stop soon.
const prefetchChunk = 8 << 20

// Prefetch reads the decoder's weights into the page cache, chunk by chunk, so that the first step
// does not wait for the disk. It runs on the caller until done, or until ctx is, whose error it
// returns. After each chunk it calls progress, unless that is nil, with the bytes done and in all.
func (d *Decoder) Prefetch(ctx context.Context, progress func(done, total int64)) error {
	parts := d.matrices()
	var done, total int64
	for _, p := range parts {
		total += int64(len(p))
	}
	for _, p := range parts {
		for len(p) > 0 {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			n := min(len(p), prefetchChunk)
			d.touch(p[:n])
			p = p[n:]
			done += int64(n)
			if progress != nil {
				progress(done, total)
			}
		}
	}
	return nil
}

// matrices is the bytes of every matrix, each once.
func (d *Decoder) matrices() [][]byte {
	var out [][]byte
	for i := range d.layers {
		l := &d.layers[i]
		for _, p := range []*projection{&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down} {
			out = append(out, p.w.Data)
		}
	}
	if d.embed.Data != nil {
		out = append(out, d.embed.Data)
	}
	if d.head.Data != nil && unsafe.SliceData(d.head.Data) != unsafe.SliceData(d.embed.Data) {
		out = append(out, d.head.Data)
	}
	return out
}

// touch reads a byte of each page of b. The kernel is told first, so that it fetches pages together;
// that is a hint, and its failure changes nothing but the speed.
func (d *Decoder) touch(b []byte) {
	page := os.Getpagesize()
	if skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) % uintptr(page)); d.mapped && skip < len(b) {
		_ = unix.Madvise(b[skip:], unix.MADV_WILLNEED)
	}
	var sum byte
	for i := 0; i < len(b); i += page {
		sum += b[i]
	}
	runtime.KeepAlive(sum)
}
