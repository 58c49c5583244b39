package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/device"
)

// Quantization says how MLX quantized the matrices of a model: each that has scales and biases beside it.
type Quantization struct {
	AffineParts
	Parts map[string]AffineParts // of some matrices, by their name without .weight
}

// AffineParts is the bits of an element, and the elements that share a scale and a bias. Without bits nothing is
// quantized.
type AffineParts struct{ Bits, Group int }

// affineFormats is the widths of elements that devices compute in.
var affineFormats = map[int]device.Format{8: device.MLX8, 4: device.MLX4}

// affineGroups is the elements that may share a scale and a bias.
var affineGroups = []int{32, 64, 128}

func given(field json.RawMessage) bool { return len(field) > 0 && string(field) != "null" }

// parseQuantization reads the field of that name: the width and the group of all matrices, and under the names of
// some what they have instead, or false.
func parseQuantization(b json.RawMessage) (q Quantization, err error) {
	if !given(b) {
		return q, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return q, err
	}
	if q.AffineParts, err = parseAffine(b); err != nil {
		return q, err
	}
	q.Parts = map[string]AffineParts{}
	for name, part := range fields {
		if name == "group_size" || name == "bits" || name == "mode" {
			continue
		}
		var quantized bool
		if json.Unmarshal(part, &quantized) == nil {
			if !quantized {
				q.Parts[name] = AffineParts{}
			}
			continue
		}
		if part[0] != '{' {
			continue // of those who add notes of their own, such as quant_method
		}
		if q.Parts[name], err = parseAffine(part); err != nil {
			return q, fmt.Errorf("%.80q: %w", name, err)
		}
	}
	return q, nil
}

func parseAffine(b json.RawMessage) (AffineParts, error) {
	var f struct {
		Bits  *int    `json:"bits"`
		Group *int    `json:"group_size"`
		Mode  *string `json:"mode"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return AffineParts{}, err
	}
	switch {
	case f.Mode != nil && *f.Mode != "affine":
		return AffineParts{}, fmt.Errorf("mode %.40q is unknown; known is affine", *f.Mode)
	case f.Bits == nil || affineFormats[*f.Bits] == 0:
		return AffineParts{}, errors.New("bits: known are 4 and 8")
	case f.Group == nil || !slices.Contains(affineGroups, *f.Group):
		return AffineParts{}, errors.New("group_size: known are 32, 64 and 128")
	}
	return AffineParts{*f.Bits, *f.Group}, nil
}

// joinAffine makes one tensor of each that MLX quantized, which has elements packed into words, scales and biases.
func (w *weights) joinAffine(q *Quantization) error {
	if q.Bits == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(w.tensors)) {
		base, ok := strings.CutSuffix(name, ".scales")
		if !ok {
			continue
		}
		part, ok := q.Parts[base]
		if !ok {
			part = q.AffineParts
		}
		t, err := w.affine(base, part)
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", w.tensors[name].file, base+".weight", err)
		}
		w.tensors[base+".weight"] = t
		delete(w.tensors, name)
		delete(w.tensors, base+".biases")
	}
	return nil
}

// affine joins the three parts of a matrix.
func (w *weights) affine(base string, part AffineParts) (storedTensor, error) {
	t, packed := w.tensors[base+".weight"]
	scales := w.tensors[base+".scales"]
	biases, both := w.tensors[base+".biases"]
	switch {
	case !packed || !both:
		return t, errors.New("has scales, but the weights or the biases are missing")
	case part.Bits == 0:
		return t, errors.New("has scales, but is not quantized, says config.json")
	case t.dtype != "U32" || len(t.shape) < 2 || len(t.shape) > 3 || t.shape[len(t.shape)-1] > maxIntermediate:
		return t, fmt.Errorf("%s %v are not words that pack rows", t.dtype, t.shape)
	}
	perWord := 32 / part.Bits
	last := len(t.shape) - 1 // of two dimensions, or of three, where there are experts
	cols := t.shape[last] * perWord
	with := func(cols int) []int { return append(slices.Clone(t.shape[:last]), cols) }
	want := with(cols / part.Group)
	switch {
	case cols%part.Group != 0:
		return t, fmt.Errorf("rows of %d elements of %d bits are not whole groups of %d", cols, part.Bits, part.Group)
	case !slices.Equal(scales.shape, want) || !slices.Equal(biases.shape, want):
		return t, fmt.Errorf("scales %v and biases %v, where groups of %d elements of %d bits need %v", scales.shape, biases.shape, part.Group, part.Bits, want)
	case scales.dtype != biases.dtype || !dense(scales.format):
		return t, fmt.Errorf("scales are %s and biases %s; known are BF16, F16 and F32", scales.dtype, biases.dtype)
	}
	t.shape = with(cols)
	t.format = affineFormats[part.Bits]
	t.scales, t.biases, t.scaleFormat, t.group = scales.data, biases.data, scales.format, part.Group
	return t, nil
}
