package model

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/model/gguf"
)

// ggufReader takes the values of an architecture out of the metadata and remembers the first that is wrong.
type ggufReader struct {
	file *gguf.File
	arch string
	err  error
}

func (r *ggufReader) fail(key string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("key %q: %w", key, err)
	}
}

// get is a value of the architecture; false if there is none.
func (r *ggufReader) get(key string) (gguf.Value, string, bool) {
	key = r.arch + "." + key
	v, ok := r.file.Metadata[key]
	return v, key, ok
}

// number is a whole number, nil if it is missing.
func (r *ggufReader) number(key string) *int {
	v, full, ok := r.get(key)
	if !ok {
		return nil
	}
	n, err := v.Int()
	if err != nil {
		r.fail(full, err)
		return nil
	}
	i := int(n)
	return &i
}

// float is a floating-point number, nil if it is missing. It is stored in 32 bits, and meant as the shortest
// number that has these.
func (r *ggufReader) float(key string) *float32 {
	v, full, ok := r.get(key)
	if !ok {
		return nil
	}
	f, err := v.Float()
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = fmt.Errorf("%g is not a finite number", f)
	}
	if err != nil {
		r.fail(full, err)
		return nil
	}
	short := float32(f)
	return &short
}

func (r *ggufReader) text(key string) string {
	v, full, ok := r.get(key)
	if !ok {
		return ""
	}
	s, err := v.Text()
	if err != nil {
		r.fail(full, err)
	}
	return s
}
