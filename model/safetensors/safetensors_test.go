package safetensors

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file is a file with the header and n bytes of data.
func file(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

func TestTensorsAreViewsOfTheirBytes(t *testing.T) {
	b := file(`{"__metadata__":null,"late":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]},
		"early":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"none":{"dtype":"F16","shape":[0,7],"data_offsets":[12,12]},
		"one":{"dtype":"U8","shape":[],"data_offsets":[12,13]}}   `, 13)
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	late := f.Tensors["late"]
	if late.DType != "F32" || fmt.Sprint(late.Shape) != "[2 1]" || !bytes.Equal(late.Data, []byte{4, 5, 6, 7, 8, 9, 10, 11}) {
		t.Errorf("late is %+v", late)
	}
	if &late.Data[0] != &b[len(b)-9] {
		t.Error("late was copied")
	}
	if got := f.Tensors["early"]; !bytes.Equal(got.Data, []byte{0, 1, 2, 3}) || cap(got.Data) != 4 {
		t.Errorf("early is %+v", got)
	}
	if got := f.Tensors["one"]; len(got.Shape) != 0 || !bytes.Equal(got.Data, []byte{12}) {
		t.Errorf("one is %+v", got)
	}
	if len(f.Tensors) != 4 || len(f.Tensors["none"].Data) != 0 {
		t.Errorf("got %v", f.Tensors)
	}
}

func TestLyingHeadersAreRefusedByName(t *testing.T) {
	one := func(dtype, shape, offsets string) []byte {
		return file(fmt.Sprintf(`{"w":{"dtype":%q,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets), 64)
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"no length":         {[]byte{1, 2, 3}, "3 bytes"},
		"header past end":   {file(`{}`, 0)[:9], "header of 2 bytes in a file of 9"},
		"huge header":       {bytes.Repeat([]byte{0xff}, 64), "limit"},
		"not an object":     {file(`[1]`, 0), "not a JSON object"},
		"cut off":           {file(`{"w":{"dtype":"F32","shape":[1]`, 8), `"w"`},
		"never closed":      {file(`{"__metadata__":{}`, 8), "header"},
		"data after":        {file(`{} {}`, 8), "after the JSON object"},
		"twice":             {file(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 8), `"w" comes twice`},
		"null":              {file(`{"w":null}`, 8), `"w": needs`},
		"one offset":        {one("U8", "[1]", "[0]"), `"w": needs`},
		"three offsets":     {one("U8", "[1]", "[0,1,1]"), `"w": needs`},
		"no shape":          {file(`{"w":{"dtype":"U8","data_offsets":[0,1]}}`, 8), `"w": needs`},
		"unknown dtype":     {one("F17", "[1]", "[0,1]"), `unknown dtype "F17"`},
		"negative":          {one("U8", "[-1]", "[0,1]"), `"w"`},
		"fraction":          {one("U8", "[1.5]", "[0,1]"), `"w"`},
		"past end":          {one("U8", "[65]", "[0,65]"), "data_offsets [0, 65] in 64"},
		"backwards":         {one("U8", "[1]", "[2,1]"), "data_offsets [2, 1]"},
		"wrong size":        {one("F32", "[3,5]", "[0,64]"), "needs 60 bytes, data_offsets give 64"},
		"overflow":          {one("F32", "[4294967296,4294967296]", "[0,0]"), "overflows"},
		"overflow to small": {one("U8", "[9223372036854775808,2]", "[0,0]"), "overflows"},
		"half a byte":       {one("F4", "[3]", "[0,1]"), "whole number"},
		"many dimensions":   {one("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), "dimensions"},
		"overlap": {file(`{"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 8),
			`"a" and "b" overlap`},
		"a hole": {file(`{"b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 8),
			`tensor "b": 1 bytes of data before it`},
		"bytes before all": {one("U8", "[3]", "[1,4]"), `tensor "w": 1 bytes of data before it`},
		"bytes after all":  {one("U8", "[3]", "[0,3]"), "after the last tensor"},
	} {
		f, err := Parse(c.file)
		if err == nil || f != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestFilesOfTheReferenceLibraryParse(t *testing.T) {
	files, err := filepath.Glob("../testdata/goldens/weights/*/*.safetensors")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden weights: %v", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		total := lengthBytes + len(f.Header)
		for _, x := range f.Tensors {
			total += len(x.Data)
		}
		if total != len(b) {
			t.Errorf("%s: tensors and header make %d bytes of %d", name, total, len(b))
		}
	}
}

func FuzzSafetensorsHeader(f *testing.F) {
	f.Add([]byte(`{"__metadata__":null,"w":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}}`), 40)
	f.Add([]byte(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"F4","shape":[4,2],"data_offsets":[4,8]}}`), 8)
	f.Add([]byte(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`), 0)
	f.Fuzz(func(t *testing.T, header []byte, data int) {
		if data < 0 || data > 1<<16 {
			return
		}
		b := file(string(header), data)
		got, err := Parse(b)
		if err != nil {
			return
		}
		owner := make([]bool, len(b))
		start := lengthBytes + len(header)
		for name, x := range got.Tensors {
			n := dtypeBits[x.DType]
			for _, d := range x.Shape {
				n *= uint64(d)
			}
			if n != 8*uint64(len(x.Data)) {
				t.Fatalf("%q: %v of %s has %d bytes", name, x.Shape, x.DType, len(x.Data))
			}
			if len(x.Data) == 0 {
				continue
			}
			at := start // views keep the file's array, so an offset is found by its address
			for i := range b[at:] {
				if &b[at+i] == &x.Data[0] {
					at += i
					break
				}
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
