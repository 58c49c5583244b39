package main

import (
	"encoding/binary"
	"strings"
	"testing"
)

func TestDecodeReadsWhatAssemblersWrite(t *testing.T) {
	for _, c := range []struct {
		text string
		code []byte
		want instruction
	}{
		{"ldtilecfg (%rax)", []byte{0xc4, 0xe2, 0x78, 0x49, 0x04, 0x20}, instruction{kind: configure, size: 6, rows: 4, columns: 0, index: 4, scale: 1}},
		{"tilerelease", []byte{0xc4, 0xe2, 0x78, 0x49, 0xc0}, instruction{kind: release, size: 5}},
		{"tilezero %tmm3", []byte{0xc4, 0xe2, 0x7b, 0x49, 0xd8}, instruction{kind: zero, size: 5, tile: 3}},
		{"tileloadd 0x20(%rsi,%rcx,1),%tmm5", []byte{0xc4, 0xe2, 0x7b, 0x4b, 0x6c, 0x0e, 0x20}, instruction{kind: load, size: 7, tile: 5, rows: 4, base: 6, index: 1, scale: 1, displacement: 0x20}},
		{"tileloadd -0x1000(%r10,%r9,2),%tmm1", []byte{0xc4, 0x82, 0x7b, 0x4b, 0x8c, 0x4a, 0x00, 0xf0, 0xff, 0xff}, instruction{kind: load, size: 10, tile: 1, rows: 4, base: 10, index: 9, scale: 2, displacement: -0x1000}},
		{"tilestored %tmm0,(%rdx,%rcx,1)", []byte{0xc4, 0xe2, 0x7a, 0x4b, 0x04, 0x0a}, instruction{kind: store, size: 6, rows: 4, base: 2, index: 1, scale: 1}},
		{"tdpbssd %tmm6,%tmm4,%tmm0", []byte{0xc4, 0xe2, 0x4b, 0x5e, 0xc4}, instruction{kind: multiply, size: 5, rows: 4, columns: 6, signedFirst: true, signedTwo: true}},
		{"tdpbsud %tmm6,%tmm4,%tmm0", []byte{0xc4, 0xe2, 0x4a, 0x5e, 0xc4}, instruction{kind: multiply, size: 5, rows: 4, columns: 6, signedFirst: true}},
		{"tdpbusd %tmm6,%tmm4,%tmm0", []byte{0xc4, 0xe2, 0x49, 0x5e, 0xc4}, instruction{kind: multiply, size: 5, rows: 4, columns: 6, signedTwo: true}},
		{"tdpbuud %tmm6,%tmm4,%tmm0", []byte{0xc4, 0xe2, 0x48, 0x5e, 0xc4}, instruction{kind: multiply, size: 5, rows: 4, columns: 6}},
		{"tdpbf16ps %tmm6,%tmm4,%tmm0", []byte{0xc4, 0xe2, 0x4a, 0x5c, 0xc4}, instruction{kind: multiplyFloats, size: 5, rows: 4, columns: 6}},
	} {
		got, err := decode(append(c.code, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc)[:len(c.code)+5])
		if got.kind < multiply { // what the fields of registers hold otherwise does not matter
			got.rows, got.columns, c.want.rows, c.want.columns = 0, 0, 0, 0
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, not %+v", c.text, got, err, c.want)
		}
		for n := range c.code {
			if _, err := decode(c.code[:n]); err == nil {
				t.Errorf("%s: %d bytes of it are an instruction", c.text, n)
			}
		}
	}
	for _, other := range [][]byte{{0x0f, 0x0b, 0, 0, 0, 0}, {0xc4, 0xe2, 0x7d, 0x58, 0x00, 0x00}, {0xc4, 0xe2, 0x4b, 0x5c, 0xc4}} {
		if i, err := decode(other); err == nil {
			t.Errorf("% x is %+v", other, i)
		}
	}
}

// program is memory.
type program []byte

func (p program) ReadAt(to []byte, at int64) (int, error)    { return copy(to, p[at:]), nil }
func (p program) WriteAt(from []byte, at int64) (int, error) { return copy(p[at:], from), nil }

func TestTilesMultiplyBytesWithTheirSigns(t *testing.T) {
	const first, second, result = 64, 256, 1024
	m := make(program, 2048)
	m[0] = 1
	for i, shape := range [][2]byte{{3, 8}, {3, 8}, {2, 8}} { // two columns of eight bytes, three rows
		m[48+i], m[16+2*i] = shape[0], shape[1]
	}
	for i := range 3 * 8 {
		m[first+i] = byte(37 * (i + 3))
	}
	for i := range 2 * 8 {
		m[second+i] = byte(91 * (i + 5))
	}
	binary.LittleEndian.PutUint32(m[result:], 1_000_000)
	for _, signed := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
		var tiles tiles
		at := func(kind kind, tile int, address int64, stride uint64) {
			t.Helper()
			if err := tiles.do(instruction{kind: kind, tile: tile, index: 1, scale: 1, displacement: address}, [16]uint64{1: stride}, m); err != nil {
				t.Fatal(err)
			}
		}
		at(configure, 0, 0, 0)
		at(load, 1, first, 8)
		at(load, 2, second, 8)
		at(load, 0, result, 8)
		if err := tiles.do(instruction{kind: multiply, rows: 1, columns: 2, index: 4, signedFirst: signed[0], signedTwo: signed[1]}, [16]uint64{}, m); err != nil {
			t.Fatal(err)
		}
		at(store, 0, result+512, 8)
		for r := range 3 {
			for c := range 2 {
				want := int32(0)
				if r == 0 && c == 0 {
					want = 1_000_000
				}
				for k := range 8 {
					a, b := int32(m[first+8*r+k]), int32(m[second+8*(k/4)+4*c+k%4])
					if signed[0] {
						a = int32(int8(a))
					}
					if signed[1] {
						b = int32(int8(b))
					}
					want += a * b
				}
				if got := int32(binary.LittleEndian.Uint32(m[result+512+8*r+4*c:])); got != want {
					t.Errorf("signs %v: row %d, column %d is %d, not %d", signed, r, c, got, want)
				}
			}
		}
	}
}

func TestWhatAProcessorWouldNotDoIsAnError(t *testing.T) {
	m := make(program, 64)
	do := func(tiles *tiles, i instruction) string {
		i.index = 4
		if err := tiles.do(i, [16]uint64{}, m); err != nil {
			return err.Error()
		}
		return ""
	}
	var none tiles
	if got := do(&none, instruction{kind: zero}); !strings.Contains(got, "not been set up") {
		t.Errorf("without tiles: %q", got)
	}
	if got := do(&none, instruction{kind: configure}); !strings.Contains(got, "palette 0") {
		t.Errorf("without a palette: %q", got)
	}
	m[0], m[16], m[48] = 1, 64, 17
	if got := do(&none, instruction{kind: configure}); !strings.Contains(got, "17 rows") {
		t.Errorf("17 rows: %q", got)
	}
	m[48], m[18], m[49], m[20], m[50] = 16, 32, 16, 64, 16 // 32 bytes to multiply with 16 rows of four
	var some tiles
	if got := do(&some, instruction{kind: configure}); got != "" {
		t.Fatal(got)
	}
	if got := do(&some, instruction{kind: multiply, rows: 1, columns: 2}); !strings.Contains(got, "16x32 and 16x64") {
		t.Errorf("tiles that do not fit each other: %q", got)
	}
	if got := do(&some, instruction{kind: zero, tile: 7}); !strings.Contains(got, "tile 7 has no rows") {
		t.Errorf("a tile that is not set up: %q", got)
	}
}
