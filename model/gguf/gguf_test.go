package gguf_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/internal/ggufwrite"
	"github.com/orrery-ai/orrery/model/gguf"
)

// tensor is a tensor of bytes that count up from first.
func tensor(name string, t gguf.Type, first byte, n int, shape ...int) ggufwrite.Tensor {
	return ggufwrite.Tensor{Name: name, Type: t, Shape: shape, Bytes: int64(n), Write: func(w io.Writer) error {
		b := make([]byte, n)
		for i := range b {
			b[i] = first + byte(i)
		}
		_, err := w.Write(b)
		return err
	}}
}

func file(t testing.TB, pairs []ggufwrite.Pair, tensors ...ggufwrite.Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := ggufwrite.Write(&b, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// every is metadata of every kind.
var every = []ggufwrite.Pair{
	{Key: "u8", Value: uint8(200)}, {Key: "i8", Value: int8(-100)}, {Key: "u16", Value: uint16(60000)}, {Key: "i16", Value: int16(-30000)},
	{Key: "u32", Value: uint32(4e9)}, {Key: "i32", Value: int32(-2e9)}, {Key: "u64", Value: uint64(1 << 62)}, {Key: "i64", Value: int64(-1 << 62)},
	{Key: "huge", Value: uint64(1 << 63)}, {Key: "f32", Value: float32(0.1)}, {Key: "f64", Value: 0.1},
	{Key: "yes", Value: true}, {Key: "no", Value: false}, {Key: "text", Value: "héllo"}, {Key: "empty", Value: ""},
	{Key: "texts", Value: []string{"a", "", "ccc"}}, {Key: "ints", Value: []int32{-1, 0, 7}}, {Key: "floats", Value: []float32{1.5, -2}},
	{Key: "none", Value: []string{}}, {Key: "bools", Value: []bool{true}}, {Key: "huges", Value: []uint64{1, 1 << 63}},
}

func TestMetadataOfEveryKindIsRead(t *testing.T) {
	f, err := gguf.Parse(file(t, every))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int64{"u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4e9, "i32": -2e9, "u64": 1 << 62, "i64": -1 << 62} {
		if got, err := f.Metadata[key].Int(); err != nil || got != want {
			t.Errorf("%s: %d, %v", key, got, err)
		}
	}
	for key, want := range map[string]float64{"f32": float64(float32(0.1)), "f64": 0.1} {
		if got, err := f.Metadata[key].Float(); err != nil || got != want {
			t.Errorf("%s: %g, %v", key, got, err)
		}
	}
	for key, want := range map[string]bool{"yes": true, "no": false} {
		if got, err := f.Metadata[key].Bool(); err != nil || got != want {
			t.Errorf("%s: %v, %v", key, got, err)
		}
	}
	for key, want := range map[string]string{"text": "héllo", "empty": ""} {
		if got, err := f.Metadata[key].Text(); err != nil || got != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	for key, want := range map[string][]string{"texts": {"a", "", "ccc"}, "none": nil} {
		seq, err := f.Metadata[key].Strings()
		if err != nil || !slices.Equal(values(seq), want) || f.Metadata[key].Len() != len(want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if seq, err := f.Metadata["ints"].Ints(); err != nil || !slices.Equal(values(seq), []int64{-1, 0, 7}) {
		t.Errorf("ints: %v", err)
	}
	if seq, err := f.Metadata["floats"].Floats(); err != nil || !slices.Equal(values(seq), []float64{1.5, -2}) {
		t.Errorf("floats: %v", err)
	}
}

// values is what seq yields, which must count up.
func values[T any](seq func(func(int, T) bool)) (out []T) {
	for i, v := range seq {
		if i != len(out) {
			panic("out of order")
		}
		out = append(out, v)
	}
	return out
}

func TestValuesOfAnotherKindAreErrorsThatSayWhichItIs(t *testing.T) {
	f, err := gguf.Parse(file(t, every))
	if err != nil {
		t.Fatal(err)
	}
	m := f.Metadata
	fails := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", what, err, want)
		}
	}
	_, err = m["text"].Int()
	fails("a string as a number", err, "a string, not a whole number")
	_, err = m["huge"].Int()
	fails("2^63", err, "a uint64, not a whole number")
	_, err = m["u8"].Float()
	fails("a whole number as a float", err, "a uint8, not a floating-point number")
	_, err = m["u8"].Bool()
	fails("a number as a bool", err, "a uint8, not a bool")
	_, err = m["texts"].Text()
	fails("an array as a string", err, "an array of 3 string, not a string")
	_, err = m["ints"].Strings()
	fails("numbers as strings", err, "an array of 3 int32, not an array of strings")
	_, err = m["texts"].Ints()
	fails("strings as numbers", err, "not an array of whole numbers")
	_, err = m["huges"].Ints()
	fails("2^63 in an array", err, "not an array of whole numbers")
	_, err = m["no such key"].Int()
	fails("a missing number", err, "missing, not a whole number")
	_, err = m["no such key"].Strings()
	fails("missing strings", err, "missing, not an array of strings")
	_, err = m["u8"].Floats()
	fails("a number as floats", err, "a uint8, not an array of floating-point numbers")
}

func TestTensorsAreViewsOfTheirBytes(t *testing.T) {
	b := file(t, nil, tensor("one", gguf.F32, 1, 24, 3, 2), tensor("two", gguf.Q8_0, 100, 68, 2, 32), tensor("strange", 31, 0, 40, 5, 2), tensor("last", gguf.BF16, 7, 2))
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	one := f.Tensors["one"]
	if one.Type != gguf.F32 || !slices.Equal(one.Shape, []int{3, 2}) || len(one.Data) != 24 || cap(one.Data) != 24 || one.Data[3] != 4 {
		t.Errorf("one is %+v", one)
	}
	two := f.Tensors["two"]
	if two.Type.String() != "Q8_0" || len(two.Data) != 68 || two.Data[0] != 100 || index(b, two.Data) < len(f.Header) {
		t.Errorf("two is %+v", two)
	}
	if s := f.Tensors["strange"]; s.Data != nil || s.Type.String() != "type 31" || !slices.Equal(s.Shape, []int{5, 2}) {
		t.Errorf("a tensor of an unknown type is %+v", s)
	}
	if last := f.Tensors["last"]; len(last.Shape) != 0 || !bytes.Equal(last.Data, []byte{7, 8}) {
		t.Errorf("last is %+v", last)
	}
}

// index is where in b view lies.
func index(b, view []byte) int {
	for i := range b {
		if &b[i] == &view[0] {
			return i
		}
	}
	return -1
}

func TestVersion2AndOtherAlignmentsAreRead(t *testing.T) {
	b := file(t, []ggufwrite.Pair{{Key: "general.alignment", Value: uint32(8)}}, tensor("w", gguf.F32, 1, 8, 2), tensor("x", gguf.F16, 9, 2, 1))
	binary.LittleEndian.PutUint32(b[4:], 2)
	f, err := gguf.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if w := f.Tensors["x"]; len(w.Data) != 2 {
		t.Errorf("x is %+v", w)
	}
}

// header is a file that raw bytes and numbers make: strings as they are, numbers little-endian.
func header(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case int:
			b = binary.LittleEndian.AppendUint64(b, uint64(p))
		case uint32:
			b = binary.LittleEndian.AppendUint32(b, p)
		case uint64:
			b = binary.LittleEndian.AppendUint64(b, p)
		}
	}
	return b
}

func TestLyingFilesAreRefusedByName(t *testing.T) {
	entry := func(value ...any) []byte {
		return header(append([]any{"GGUF", uint32(3), 0, 1, 1, "k"}, value...)...)
	}
	one := func(info ...any) []byte {
		b := header(append([]any{"GGUF", uint32(3), 1, 0, 1, "w"}, info...)...)
		return append(b, make([]byte, 64+(32-len(b)%32)%32)...)
	}
	two := func(first, second uint64) []byte {
		b := header("GGUF", uint32(3), 2, 0, 1, "b", uint32(1), 16, uint32(0), first, 1, "a", uint32(1), 16, uint32(0), second)
		return append(b, make([]byte, 256)...)
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":             {nil, "does not begin"},
		"another format":    {[]byte("PK\x03\x04 and so on"), "does not begin"},
		"cut off":           {header("GGUF", uint32(3), 1)[:12], "bytes at 8"},
		"version 1":         {header("GGUF", uint32(1), 0, 0), "version 1 is not known"},
		"version 4":         {header("GGUF", uint32(4), 0, 0), "version 4"},
		"big-endian":        {header("GGUF", uint32(3<<24), 0, 0), "big-endian"},
		"many tensors":      {header("GGUF", uint32(3), 1<<40, 0), "limit"},
		"many keys":         {header("GGUF", uint32(3), 0, uint64(math.MaxUint64)), "limit"},
		"fewer keys":        {header("GGUF", uint32(3), 0, 2, 1, "k", uint32(0), "\x07"), "key 1 of 2"},
		"endless key":       {header("GGUF", uint32(3), 0, 1, uint64(math.MaxUint64), "k"), "key 0 of 1"},
		"nameless key":      {header("GGUF", uint32(3), 0, 1, 0, uint32(0), "\x07"), "a name of 0 bytes"},
		"key twice":         {header("GGUF", uint32(3), 0, 2, 1, "k", uint32(0), "\x07", 1, "k", uint32(0), "\x07"), `"k" comes twice`},
		"no value":          {entry(uint32(4), "\x01"), `key "k"`},
		"unknown kind":      {entry(uint32(13), 0), `key "k": kind 13`},
		"endless string":    {entry(uint32(8), 1<<62, "abc"), `key "k"`},
		"endless numbers":   {entry(uint32(9), uint32(4), 1<<62, 0), `key "k": an array of 4611686018427387904 uint32`},
		"few numbers":       {entry(uint32(9), uint32(4), 3, 0), `key "k"`},
		"endless strings":   {entry(uint32(9), uint32(8), 1<<62, 1, "a"), `key "k": string 1 of`},
		"array of arrays":   {entry(uint32(9), uint32(9), 1, uint32(0), 0), "array of array"},
		"array of unknowns": {entry(uint32(9), uint32(77), 1, 0), "kind 77"},
		"alignment 0":       {header("GGUF", uint32(3), 0, 1, 17, "general.alignment", uint32(4), uint32(0)), `"general.alignment": 0`},
		"alignment 48":      {header("GGUF", uint32(3), 0, 1, 17, "general.alignment", uint32(4), uint32(48)), "power of two"},
		"alignment a text":  {header("GGUF", uint32(3), 0, 1, 17, "general.alignment", uint32(8), 1, "8"), "whole number"},
		"fewer tensors":     {header("GGUF", uint32(3), 2, 0, 1, "w", uint32(0), uint32(0), 0), "tensor 1 of 2"},
		"nameless tensor":   {header("GGUF", uint32(3), 1, 0, 0, uint32(0), uint32(0), 0), "tensor 0 of 1: a name"},
		"tensor cut off":    {header("GGUF", uint32(3), 1, 0, 1, "w", uint32(2), 4), `tensor "w"`},
		"tensor twice":      {header("GGUF", uint32(3), 2, 0, 1, "w", uint32(0), uint32(0), 0, 1, "w", uint32(0), uint32(0), 0), `"w" comes twice`},
		"five dimensions":   {one(uint32(5), 1, 1, 1, 1, 1, uint32(0), 0), `tensor "w": 5 dimensions`},
		"past the end":      {one(uint32(1), 17, uint32(0), 0), `tensor "w": 68 bytes of F32 at offset 0, where the file has 64`},
		"starts past it":    {one(uint32(1), 1, uint32(0), 96), `tensor "w": 4 bytes of F32 at offset 96`},
		"endless offset":    {one(uint32(1), 1, uint32(0), uint64(math.MaxUint64-31)), `tensor "w"`},
		"between":           {one(uint32(1), 1, uint32(0), 4), "multiple of the alignment"},
		"overflow":          {one(uint32(2), 1<<40, 1<<40, uint32(0), 0), `tensor "w": shape`},
		"overflow to none":  {one(uint32(3), uint64(1<<63), 2, 0, uint32(0), 0), `tensor "w": shape`},
		"half a block":      {one(uint32(2), 16, 2, uint32(8), 0), `tensor "w": rows of 16 elements, where Q8_0 has blocks of 32`},
		"overlap":           {two(0, 32), `"b" and "a" overlap`},
		"the same place":    {two(32, 32), `"a" and "b" overlap`},
	} {
		f, err := gguf.Parse(c.file)
		if err == nil || f != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
	if _, err := gguf.Parse(two(0, 64)); err != nil {
		t.Errorf("neighbours: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file(f, every, tensor("one", gguf.F32, 1, 24, 3, 2), tensor("two", gguf.Q8_0, 100, 68, 2, 32), tensor("strange", 31, 0, 40, 5, 2)))
	f.Add(file(f, []ggufwrite.Pair{{Key: "general.alignment", Value: uint32(1)}}, tensor("w", gguf.Q4_K, 3, 288, 2, 256)))
	f.Add(header("GGUF", uint32(3), 2, 0, 1, "w", uint32(1), 2, uint32(0), 0, 1, "v", uint32(1), 1<<62, uint32(0), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := gguf.Parse(b)
		if err != nil {
			return
		}
		for _, v := range got.Metadata {
			if seq, err := v.Strings(); err == nil {
				for range seq {
				}
			}
			if seq, err := v.Ints(); err == nil {
				for range seq {
				}
			}
			if seq, err := v.Floats(); err == nil {
				for range seq {
				}
			}
		}
		owner := make([]bool, len(b))
		for name, x := range maps.All(got.Tensors) {
			if len(x.Data) == 0 {
				continue
			}
			at := index(b, x.Data)
			if at < len(got.Header) {
				t.Fatalf("%q begins at %d, within the header", name, at)
			}
			for i := range x.Data {
				if owner[at+i] {
					t.Fatalf("%q shares byte %d", name, at+i)
				}
				owner[at+i] = true
			}
		}
	})
}
