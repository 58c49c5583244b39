package gguf

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// kind is what a value of the metadata is: the number that files have.
type kind uint32

const (
	kindUint8 kind = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

var kindNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64", "float64"}

// kindBytes is the size of a value of each kind, 0 where that depends on the value.
var kindBytes = [...]uint64{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

func (k kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Value is one value of the metadata: a view of the file's bytes, checked when it was parsed. The zero Value, of a key
// that a file does not have, is of no kind: all its methods give errors.
type Value struct {
	kind    kind
	element kind   // of an array
	n       uint64 // elements of an array
	raw     []byte // of a string or an array without what comes before the first element
}

// String says what the value is, for errors.
func (v Value) String() string {
	if v.raw == nil {
		return "missing"
	}
	if v.kind == kindArray {
		return fmt.Sprintf("an array of %d %v", v.n, v.element)
	}
	return "a " + v.kind.String()
}

// Int is a whole number of any width that an int64 holds.
func (v Value) Int() (int64, error) {
	if n, ok := integer(v.kind, v.raw); ok {
		return n, nil
	}
	return 0, fmt.Errorf("is %v, not a whole number", v)
}

// Float is a floating-point number.
func (v Value) Float() (float64, error) {
	if f, ok := float(v.kind, v.raw); ok {
		return f, nil
	}
	return 0, fmt.Errorf("is %v, not a floating-point number", v)
}

// Bool is a truth value.
func (v Value) Bool() (bool, error) {
	if v.kind == kindBool {
		return v.raw[0] != 0, nil
	}
	return false, fmt.Errorf("is %v, not a bool", v)
}

// Text is a string.
func (v Value) Text() (string, error) {
	if v.kind == kindString {
		return string(v.raw), nil
	}
	return "", fmt.Errorf("is %v, not a string", v)
}

// Len is the number of elements of an array, else 0.
func (v Value) Len() int { return int(v.n) }

// Strings is the elements of an array of strings, in order.
func (v Value) Strings() (iter.Seq2[int, string], error) {
	if v.kind != kindArray || v.element != kindString {
		return nil, fmt.Errorf("is %v, not an array of strings", v)
	}
	return func(yield func(int, string) bool) {
		left := v.raw
		for i := range int(v.n) {
			n := binary.LittleEndian.Uint64(left)
			if !yield(i, string(left[8:8+n])) {
				return
			}
			left = left[8+n:]
		}
	}, nil
}

// Ints is the elements of an array of whole numbers, in order.
func (v Value) Ints() (iter.Seq2[int, int64], error) {
	return elements(v, "whole numbers", integer)
}

// Floats is the elements of an array of floating-point numbers, in order.
func (v Value) Floats() (iter.Seq2[int, float64], error) {
	return elements(v, "floating-point numbers", float)
}

// elements is the elements of an array as what one of them is read as.
func elements[T any](v Value, what string, read func(kind, []byte) (T, bool)) (iter.Seq2[int, T], error) {
	size := uint64(0)
	if v.kind == kindArray {
		size = kindBytes[v.element]
	}
	for i := range v.n {
		if size == 0 {
			break
		}
		if _, ok := read(v.element, v.raw[i*size:]); !ok {
			size = 0
		}
	}
	if size == 0 {
		return nil, fmt.Errorf("is %v, not an array of %s", v, what)
	}
	return func(yield func(int, T) bool) {
		for i := range v.n {
			x, _ := read(v.element, v.raw[i*size:])
			if !yield(int(i), x) {
				return
			}
		}
	}, nil
}

// integer reads a whole number; false if b is of another kind, or too large.
func integer(k kind, b []byte) (int64, bool) {
	if b == nil {
		return 0, false
	}
	switch k {
	case kindUint8:
		return int64(b[0]), true
	case kindInt8:
		return int64(int8(b[0])), true
	case kindUint16:
		return int64(binary.LittleEndian.Uint16(b)), true
	case kindInt16:
		return int64(int16(binary.LittleEndian.Uint16(b))), true
	case kindUint32:
		return int64(binary.LittleEndian.Uint32(b)), true
	case kindInt32:
		return int64(int32(binary.LittleEndian.Uint32(b))), true
	case kindUint64, kindInt64:
		n := int64(binary.LittleEndian.Uint64(b))
		return n, k == kindInt64 || n >= 0
	}
	return 0, false
}

// float reads a floating-point number; false if b is of another kind.
func float(k kind, b []byte) (float64, bool) {
	switch k {
	case kindFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), true
	case kindFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), true
	}
	return 0, false
}
