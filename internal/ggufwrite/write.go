package ggufwrite

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"

	"github.com/orrery-ai/orrery/model/gguf"
)

const alignment = 32

// Pair is one entry of the metadata. Its value is a string, a bool, a number whose width is part of its
// type, or a slice of such.
type Pair struct {
	Key   string
	Value any
}

// Tensor is a tensor to write.
type Tensor struct {
	Name  string
	Type  gguf.Type
	Shape []int                 // the slowest dimension first
	Bytes int64                 // as stored
	Write func(io.Writer) error // writes so many
}

// Write writes a file of version 3.
func Write(w io.Writer, pairs []Pair, tensors []Tensor) error {
	var h bytes.Buffer
	h.WriteString("GGUF")
	put(&h, uint32(3))
	put(&h, uint64(len(tensors)))
	put(&h, uint64(len(pairs)))
	for _, p := range pairs {
		put(&h, p.Key)
		k, err := kindOf(reflect.TypeOf(p.Value))
		if err != nil {
			return fmt.Errorf("key %q: %w", p.Key, err)
		}
		put(&h, k)
		put(&h, p.Value)
	}
	offset := int64(0)
	for _, t := range tensors {
		put(&h, t.Name)
		put(&h, uint32(len(t.Shape)))
		for i := range t.Shape {
			put(&h, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		put(&h, uint32(t.Type))
		put(&h, uint64(offset))
		offset = aligned(offset + t.Bytes)
	}
	h.Write(make([]byte, aligned(int64(h.Len()))-int64(h.Len())))
	if _, err := w.Write(h.Bytes()); err != nil {
		return err
	}
	for _, t := range tensors {
		n := &counter{w: w}
		if err := t.Write(n); err != nil {
			return err
		}
		if n.n != t.Bytes {
			return fmt.Errorf("tensor %q: %d bytes were written, want %d", t.Name, n.n, t.Bytes)
		}
		if _, err := w.Write(make([]byte, aligned(t.Bytes)-t.Bytes)); err != nil {
			return err
		}
	}
	return nil
}

func aligned(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

// counter counts what goes through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// kinds is the number of each kind of value.
var kinds = map[reflect.Kind]uint32{
	reflect.Uint8: 0, reflect.Int8: 1, reflect.Uint16: 2, reflect.Int16: 3, reflect.Uint32: 4, reflect.Int32: 5,
	reflect.Float32: 6, reflect.Bool: 7, reflect.String: 8, reflect.Slice: 9, reflect.Uint64: 10, reflect.Int64: 11, reflect.Float64: 12,
}

func kindOf(t reflect.Type) (uint32, error) {
	k, ok := kinds[t.Kind()]
	if !ok {
		return 0, fmt.Errorf("%v is not a value of metadata", t)
	}
	return k, nil
}

// put writes a value without its kind.
func put(h *bytes.Buffer, value any) {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.String:
		put(h, uint64(v.Len()))
		h.WriteString(v.String())
	case reflect.Slice:
		put(h, kinds[v.Type().Elem().Kind()])
		put(h, uint64(v.Len()))
		for i := range v.Len() {
			put(h, v.Index(i).Interface())
		}
	default:
		h.Write(must(binary.Append(nil, binary.LittleEndian, value)))
	}
}

// must is b: numbers and bools can always be written.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
