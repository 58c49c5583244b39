package model

import (
	"context"
	"os"
	"runtime"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
)

// loadChunk is how much is read from the disk at a time: enough for it to run at full speed, little enough to stop soon.
const loadChunk = 8 << 20

// Load makes the decoder's weights ready for use on a device, so that no step waits for the disk or for the mapping of
// a page, and a node that lacks the memory finds out now. It runs on the caller until done, or until ctx is, whose error
// it returns. After each chunk it calls progress, unless that is nil, with the bytes done and in all. Unload
// takes it back, and must follow if there is no error.
func (d *Decoder) Load(ctx context.Context, dev device.Device, progress func(done, total int64)) (err error) {
	d.device = dev
	defer func() {
		if err != nil {
			d.Unload()
		}
	}()
	parts, experts := d.matrices(), d.experts()
	var done, total int64
	tied := unsafe.SliceData(d.head.Data) == unsafe.SliceData(d.embed.Data)
	for _, m := range parts {
		if m != &d.head || !tied {
			total += matrixBytes(m)
		}
	}
	for _, e := range experts {
		for _, part := range e.Parts() {
			for i := range part {
				total += matrixBytes(&part[i])
			}
		}
	}
	fetch := func(m *device.Matrix) error {
		for _, data := range [...][]byte{m.Data, m.Scales, m.Biases} {
			for at := 0; at < len(data); at += loadChunk {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				piece := data[at:min(at+loadChunk, len(data))]
				d.touch(piece)
				done += int64(len(piece))
				if progress != nil {
					progress(done, total)
				}
			}
		}
		return nil
	}
	for _, m := range parts {
		if m != &d.head || !tied {
			if err := fetch(m); err != nil {
				return err
			}
		}
		if *m, err = d.load(*m); err != nil {
			return err
		}
	}
	for _, e := range experts {
		for _, part := range e.Parts() {
			for i := range part {
				if err := fetch(&part[i]); err != nil {
					return err
				}
			}
		}
		loaded, err := d.device.LoadExperts(*e)
		if err != nil {
			return err
		}
		for p, part := range e.Parts() {
			for i := range part {
				d.lies(&part[i], &loaded.Parts()[p][i])
			}
		}
		*e = loaded
		d.groups = append(d.groups, loaded)
	}
	for _, v := range d.vectors() {
		if len(*v) == 0 {
			continue
		}
		m := device.Matrix{Format: device.F32, Rows: 1, Cols: len(*v), Data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(*v))), 4*len(*v))}
		if m, err = d.load(m); err != nil {
			return err
		}
		*v = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m.Data))), len(*v))
	}
	return nil
}

func (d *Decoder) load(m device.Matrix) (device.Matrix, error) {
	loaded, err := d.device.Load(m)
	if err == nil {
		d.lies(&m, &loaded)
		d.loaded = append(d.loaded, loaded)
	}
	return loaded, err
}

// Unload ends the use of the device. The decoder records nothing afterwards, and nothing that it has recorded is pending.
func (d *Decoder) Unload() {
	for _, m := range d.loaded {
		d.device.Unload(m)
	}
	for _, e := range d.groups {
		d.device.UnloadExperts(e)
	}
	d.loaded, d.groups, d.inPlace = nil, nil, nil
}

// matrixBytes is the size of a matrix as it is stored.
func matrixBytes(m *device.Matrix) int64 {
	return int64(len(m.Data)) + int64(len(m.Scales)) + int64(len(m.Biases))
}

// experts is the experts of every layer that has some.
func (d *Decoder) experts() []*device.Experts {
	var out []*device.Experts
	for i := range d.layers {
		if e := &d.layers[i].experts; e.Len() > 0 {
			out = append(out, e)
		}
	}
	return out
}

// matrices is every matrix but those of experts. If the model is tied, and both are here, the embedding and the head have the same data.
func (d *Decoder) matrices() []*device.Matrix {
	var out []*device.Matrix
	for i := range d.layers {
		l := &d.layers[i]
		for _, p := range []*projection{&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down, &l.router} {
			if p.w.Data != nil {
				out = append(out, &p.w)
			}
		}
	}
	if d.embed.Data != nil {
		out = append(out, &d.embed)
	}
	if d.head.Data != nil {
		out = append(out, &d.head)
	}
	return out
}

// vectors is every norm and bias, those that the architecture lacks included.
func (d *Decoder) vectors() []*[]float32 {
	out := []*[]float32{&d.norm}
	for i := range d.layers {
		l := &d.layers[i]
		out = append(out, &l.inputNorm, &l.postNorm, &l.qNorm, &l.kNorm)
		for _, p := range []*projection{&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down} {
			out = append(out, &p.bias)
		}
	}
	return out
}

// touch makes the pages of b resident. Where the system does not do that at once, it is told that they will be
// needed, so that it fetches them together, and a byte of each is read.
func (d *Decoder) touch(b []byte) {
	page := os.Getpagesize()
	before := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % uintptr(page))
	if populate(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), -before)), before+len(b))) == nil {
		return
	}
	var sum byte
	for i := 0; i < len(b); i += page {
		sum += b[i]
	}
	runtime.KeepAlive(sum)
}
