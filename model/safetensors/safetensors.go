package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

const (
	lengthBytes    = 8
	maxHeaderBytes = 100_000_000 // the reference library's limit
	maxDims        = 8
	maxNameBytes   = 1 << 10
)

// dtypeBits is the width of an element of each type that the format knows.
var dtypeBits = map[string]uint64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
	"U16": 16, "I16": 16, "F16": 16, "BF16": 16,
	"U32": 32, "I32": 32, "F32": 32,
	"U64": 64, "I64": 64, "F64": 64, "C64": 64,
}

// Tensor is one tensor of a file.
type Tensor struct {
	DType string // as the header names it: "F32", "BF16", …
	Shape []int
	Data  []byte // row-major, little-endian; a view of the file
}

// File is a parsed file.
type File struct {
	Header  []byte // the JSON, as it is in the file
	Tensors map[string]Tensor
}

// entry is a tensor as the header describes it.
type entry struct {
	DType   string    `json:"dtype"`
	Shape   []uint64  `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

// Parse reads the header of a whole file, given as its bytes, and returns views of the tensors.
// Errors name the tensor; the caller knows the file.
func Parse(file []byte) (*File, error) {
	if len(file) < lengthBytes {
		return nil, fmt.Errorf("%d bytes are too few for a header's length", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	if n > maxHeaderBytes {
		return nil, fmt.Errorf("header of %d bytes: the limit is %d", n, maxHeaderBytes)
	}
	if n > uint64(len(file)-lengthBytes) {
		return nil, fmt.Errorf("header of %d bytes in a file of %d", n, len(file))
	}
	header, data := file[lengthBytes:lengthBytes+n], file[lengthBytes+n:]
	entries, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	f := &File{Header: header, Tensors: make(map[string]Tensor, len(entries))}
	for name, e := range entries {
		t, err := e.tensor(data)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		f.Tensors[name] = t
	}
	if err := checkCover(entries, uint64(len(data))); err != nil {
		return nil, err
	}
	return f, nil
}

// parseHeader decodes the JSON object key by key, so that a name that comes twice is seen.
func parseHeader(header []byte) (map[string]entry, error) {
	dec := json.NewDecoder(bytes.NewReader(header))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("header is not a JSON object")
	}
	entries := map[string]entry{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("header: %w", err)
		}
		name := key.(string) // a key is a string, or Token has failed
		if len(name) > maxNameBytes {
			return nil, fmt.Errorf("tensor %.80q…: a name of %d bytes, the limit is %d", name, len(name), maxNameBytes)
		}
		if name == "__metadata__" {
			var free json.RawMessage // strings by the format, null from MLX; of no use here
			if err := dec.Decode(&free); err != nil {
				return nil, fmt.Errorf("header: __metadata__: %w", err)
			}
			continue
		}
		if _, twice := entries[name]; twice {
			return nil, fmt.Errorf("tensor %q comes twice in the header", name)
		}
		var e struct {
			DType   *string  `json:"dtype"`
			Shape   []uint64 `json:"shape"`
			Offsets []uint64 `json:"data_offsets"`
		}
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if e.DType == nil || e.Shape == nil || len(e.Offsets) != 2 {
			return nil, fmt.Errorf("tensor %q: needs dtype, shape and two data_offsets", name)
		}
		entries[name] = entry{DType: *e.DType, Shape: e.Shape, Offsets: [2]uint64(e.Offsets)}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if rest := header[dec.InputOffset():]; len(bytes.TrimRight(rest, " \t\r\n")) > 0 {
		return nil, errors.New("header: data after the JSON object")
	}
	return entries, nil
}

// tensor checks e against the bytes that the file has.
func (e entry) tensor(data []byte) (Tensor, error) {
	width, known := dtypeBits[e.DType]
	if !known {
		return Tensor{}, fmt.Errorf("unknown dtype %.40q", e.DType)
	}
	if len(e.Shape) > maxDims {
		return Tensor{}, fmt.Errorf("%d dimensions: the limit is %d", len(e.Shape), maxDims)
	}
	size := width
	shape := make([]int, len(e.Shape))
	for i, d := range e.Shape {
		hi, lo := bits.Mul64(size, d)
		if hi != 0 || d > 1<<62 {
			return Tensor{}, fmt.Errorf("shape %v overflows", e.Shape)
		}
		size, shape[i] = lo, int(d)
	}
	if size%8 != 0 {
		return Tensor{}, fmt.Errorf("shape %v of %s is no whole number of bytes", e.Shape, e.DType)
	}
	first, end := e.Offsets[0], e.Offsets[1]
	if first > end || end > uint64(len(data)) {
		return Tensor{}, fmt.Errorf("data_offsets [%d, %d] in %d bytes of data", first, end, len(data))
	}
	if end-first != size/8 {
		return Tensor{}, fmt.Errorf("shape %v of %s needs %d bytes, data_offsets give %d", e.Shape, e.DType, size/8, end-first)
	}
	return Tensor{DType: e.DType, Shape: shape, Data: data[first:end:end]}, nil
}

// checkCover reports two tensors that share bytes, and bytes that no tensor has: a header that is off by some bytes would else
// be read as other weights. The reference library refuses both, too.
func checkCover(entries map[string]entry, size uint64) error {
	type span struct {
		name       string
		first, end uint64
	}
	spans := make([]span, 0, len(entries))
	for name, e := range entries {
		if e.Offsets[0] < e.Offsets[1] {
			spans = append(spans, span{name, e.Offsets[0], e.Offsets[1]})
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.name, b.name))
	})
	at, last := uint64(0), ""
	for _, s := range spans {
		switch {
		case s.first < at:
			return fmt.Errorf("tensors %q and %q overlap", last, s.name)
		case s.first > at:
			return fmt.Errorf("tensor %q: %d bytes of data before it belong to none", s.name, s.first-at)
		}
		at, last = s.end, s.name
	}
	if at < size {
		return fmt.Errorf("%d bytes of data after the last tensor belong to none", size-at)
	}
	return nil
}
