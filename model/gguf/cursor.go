package gguf

import (
	"encoding/binary"
	"fmt"
)

// cursor reads a header. Every read is held against what is left.
type cursor struct {
	file []byte
	at   uint64
}

// take is the next n bytes.
func (c *cursor) take(n uint64) ([]byte, error) {
	if left := uint64(len(c.file)) - c.at; n > left {
		return nil, fmt.Errorf("%d bytes at %d, where the file has %d more", n, c.at, left)
	}
	b := c.file[c.at : c.at+n : c.at+n]
	c.at += n
	return b, nil
}

func (c *cursor) uint32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64() (uint64, error) {
	b, err := c.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// text is a string: its length and its bytes.
func (c *cursor) text() ([]byte, error) {
	n, err := c.uint64()
	if err != nil {
		return nil, err
	}
	return c.take(n)
}

// name is a string of 1 to limit bytes.
func (c *cursor) name(limit int) (string, error) {
	b, err := c.text()
	if err != nil {
		return "", err
	}
	if len(b) == 0 || len(b) > limit {
		return "", fmt.Errorf("a name of %d bytes: 1 to %d are allowed", len(b), limit)
	}
	return string(b), nil
}

// value is a kind and a value of that kind.
func (c *cursor) value() (Value, error) {
	k, err := c.uint32()
	if err != nil {
		return Value{}, err
	}
	v := Value{kind: kind(k)}
	switch {
	case v.kind == kindString:
		v.raw, err = c.text()
	case v.kind == kindArray:
		err = c.array(&v)
	case int(k) < len(kindBytes):
		v.raw, err = c.take(kindBytes[k])
	default:
		err = fmt.Errorf("%v is not known", v.kind)
	}
	return v, err
}

// array is the kind of the elements, their number, and the elements.
func (c *cursor) array(v *Value) error {
	k, err := c.uint32()
	if err != nil {
		return err
	}
	v.element = kind(k)
	if v.n, err = c.uint64(); err != nil {
		return err
	}
	from := c.at
	switch {
	case v.element == kindString:
		for i := range v.n { // ends at the end of the file, whatever the number says
			if _, err := c.text(); err != nil {
				return fmt.Errorf("string %d of %d: %w", i, v.n, err)
			}
		}
	case int(k) >= len(kindBytes) || kindBytes[k] == 0:
		return fmt.Errorf("an array of %v is not known", v.element)
	case v.n > uint64(len(c.file)):
		return fmt.Errorf("an array of %d %v in a file of %d bytes", v.n, v.element, len(c.file))
	default:
		if _, err := c.take(v.n * kindBytes[k]); err != nil {
			return err
		}
	}
	v.raw = c.file[from:c.at:c.at]
	return nil
}
