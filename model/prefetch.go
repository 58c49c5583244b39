package model

import (
	"context"
	"os"
	"runtime"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
)

// prefetchChunk is how much is asked for at a time: enough for a disk to run at full speed, little
// enough to stop soon.
const prefetchChunk = 8 << 20

// Prefetch makes the decoder's weights resident, chunk by chunk, so that no step waits for the disk or for
// the mapping of a page, and a node that lacks the memory finds out now. It runs on the caller until done, or
// until ctx is, whose error it returns. After each chunk it calls progress, unless that is nil, with the
// bytes done and in all.
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
			out = appendMatrix(out, &p.w)
		}
	}
	if d.embed.Data != nil {
		out = appendMatrix(out, &d.embed)
	}
	if d.head.Data != nil && unsafe.SliceData(d.head.Data) != unsafe.SliceData(d.embed.Data) {
		out = appendMatrix(out, &d.head)
	}
	return out
}

func appendMatrix(out [][]byte, m *device.Matrix) [][]byte {
	out = append(out, m.Data)
	if m.Affine.Group > 0 {
		out = append(out, m.Affine.Scales, m.Affine.Biases)
	}
	return out
}

// touch makes the pages of b resident. Where the system does not do that at once, it is told that they will be
// needed, so that it fetches them together, and a byte of each is read.
func (d *Decoder) touch(b []byte) {
	page := os.Getpagesize()
	if d.mapped {
		before := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % uintptr(page))
		if populate(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), -before)), before+len(b))) == nil {
			return
		}
	}
	var sum byte
	for i := 0; i < len(b); i += page {
		sum += b[i]
	}
	runtime.KeepAlive(sum)
}
