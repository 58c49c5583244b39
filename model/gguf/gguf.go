package gguf

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

const (
	magic            = "GGUF"
	defaultAlignment = 32
	alignmentKey     = "general.alignment"

	maxKeyBytes  = 1<<16 - 1
	maxNameBytes = 255
	maxEntries   = 1 << 16 // of metadata, and tensors
	maxDims      = 4
	maxAlignment = 1 << 20
)

// Tensor is one tensor of a file.
type Tensor struct {
	Type  Type
	Shape []int  // the slowest dimension first: [rows, columns]
	Data  []byte // row-major, little-endian; a view of the file. Nil if the type is not known here
}

// File is a parsed file.
type File struct {
	Header   []byte // everything before the tensors' bytes
	Metadata map[string]Value
	Tensors  map[string]Tensor
}

// info is a tensor as the header describes it.
type info struct {
	name   string
	typ    Type
	shape  []uint64 // the fastest dimension first, as in the file
	offset uint64   // from the start of the tensors' bytes
	size   uint64
}

// Parse reads the header of a whole file, given as its bytes, and returns views of the metadata and the
// tensors. Errors name the key or the tensor; the caller knows the file.
func Parse(file []byte) (*File, error) {
	c := &cursor{file: file}
	tensors, entries, err := c.preamble()
	if err != nil {
		return nil, err
	}
	f := &File{Metadata: map[string]Value{}, Tensors: map[string]Tensor{}}
	for i := range entries {
		key, err := c.name(maxKeyBytes)
		if err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i, entries, err)
		}
		if _, twice := f.Metadata[key]; twice {
			return nil, fmt.Errorf("key %.80q comes twice", key)
		}
		if f.Metadata[key], err = c.value(); err != nil {
			return nil, fmt.Errorf("key %.80q: %w", key, err)
		}
	}
	alignment, err := f.alignment()
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", alignmentKey, err)
	}
	infos := make([]info, 0, min(tensors, 1024))
	for i := range tensors {
		t, err := c.info()
		if err != nil {
			if t.name == "" {
				return nil, fmt.Errorf("tensor %d of %d: %w", i, tensors, err)
			}
			return nil, fmt.Errorf("tensor %q: %w", t.name, err)
		}
		if _, twice := f.Tensors[t.name]; twice {
			return nil, fmt.Errorf("tensor %q comes twice", t.name)
		}
		f.Tensors[t.name] = Tensor{}
		infos = append(infos, t)
	}
	start := (c.at + alignment - 1) / alignment * alignment
	f.Header = file[:c.at:c.at]
	var data []byte // a file without tensors may end before start
	if start < uint64(len(file)) {
		data = file[start:]
	}
	for i := range infos {
		t := &infos[i]
		if f.Tensors[t.name], err = t.tensor(data, alignment); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.name, err)
		}
	}
	if err := checkOverlaps(infos); err != nil {
		return nil, err
	}
	return f, nil
}

// preamble is what a file begins with: the numbers of tensors and of metadata.
func (c *cursor) preamble() (tensors, entries uint64, err error) {
	b, err := c.take(uint64(len(magic)))
	if err != nil || string(b) != magic {
		return 0, 0, fmt.Errorf("no GGUF file: it does not begin with %q", magic)
	}
	version, err := c.uint32()
	switch {
	case err != nil:
		return 0, 0, err
	case version != 0 && version&0xffff == 0:
		return 0, 0, errors.New("a big-endian file: convert it to little-endian")
	case version != 2 && version != 3:
		return 0, 0, fmt.Errorf("version %d is not known; known are 2 and 3", version)
	}
	if tensors, err = c.uint64(); err != nil {
		return 0, 0, err
	}
	if entries, err = c.uint64(); err != nil {
		return 0, 0, err
	}
	if tensors > maxEntries || entries > maxEntries {
		return 0, 0, fmt.Errorf("%d tensors and %d keys: the limit of each is %d", tensors, entries, maxEntries)
	}
	return tensors, entries, nil
}

// alignment is that of the tensors.
func (f *File) alignment() (uint64, error) {
	v, ok := f.Metadata[alignmentKey]
	if !ok {
		return defaultAlignment, nil
	}
	n, err := v.Int()
	if err != nil {
		return 0, err
	}
	if n < 1 || n > maxAlignment || n&(n-1) != 0 {
		return 0, fmt.Errorf("%d is not a power of two of at most %d", n, maxAlignment)
	}
	return uint64(n), nil
}

// info reads what the header says of a tensor. With an error, what has been read of it is returned too.
func (c *cursor) info() (t info, err error) {
	if t.name, err = c.name(maxNameBytes); err != nil {
		return t, err
	}
	dims, err := c.uint32()
	if err != nil {
		return t, err
	}
	if dims > maxDims {
		return t, fmt.Errorf("%d dimensions: the limit is %d", dims, maxDims)
	}
	t.shape = make([]uint64, dims)
	for i := range t.shape {
		if t.shape[i], err = c.uint64(); err != nil {
			return t, err
		}
	}
	typ, err := c.uint32()
	if err != nil {
		return t, err
	}
	t.typ = Type(typ)
	t.offset, err = c.uint64()
	return t, err
}

// tensor checks t against the bytes that the file has, and sets its size.
func (t *info) tensor(data []byte, alignment uint64) (Tensor, error) {
	out := Tensor{Type: t.typ, Shape: make([]int, len(t.shape))}
	elements := uint64(1)
	for i, d := range t.shape {
		hi, lo := bits.Mul64(elements, d)
		if hi != 0 || lo > 1<<56 || d > 1<<56 {
			return Tensor{}, fmt.Errorf("shape %v overflows", t.shape)
		}
		elements = lo
		out.Shape[len(t.shape)-1-i] = int(d)
	}
	l, known := layouts[t.typ]
	if !known {
		return out, nil
	}
	row := uint64(1)
	if len(t.shape) > 0 {
		row = t.shape[0]
	}
	if row%l.elements != 0 {
		return Tensor{}, fmt.Errorf("rows of %d elements, where %s has blocks of %d", row, l.name, l.elements)
	}
	hi, size := bits.Mul64(elements/l.elements, l.bytes)
	if hi != 0 {
		return Tensor{}, fmt.Errorf("shape %v overflows", t.shape)
	}
	if t.offset%alignment != 0 {
		return Tensor{}, fmt.Errorf("offset %d is not a multiple of the alignment, %d", t.offset, alignment)
	}
	if have := uint64(len(data)); t.offset > have || size > have-t.offset {
		return Tensor{}, fmt.Errorf("%d bytes of %s at offset %d, where the file has %d bytes of tensors", size, l.name, t.offset, have)
	}
	t.size = size
	out.Data = data[t.offset : t.offset+size : t.offset+size]
	return out, nil
}

// checkOverlaps reports two tensors that share bytes. It sorts infos.
func checkOverlaps(infos []info) error {
	infos = slices.DeleteFunc(infos, func(t info) bool { return t.size == 0 })
	slices.SortFunc(infos, func(a, b info) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.name, b.name))
	})
	for i := 1; i < len(infos); i++ {
		if before := infos[i-1]; infos[i].offset < before.offset+before.size {
			return fmt.Errorf("tensors %q and %q overlap", before.name, infos[i].name)
		}
	}
	return nil
}
