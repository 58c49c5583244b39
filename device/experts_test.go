package device

import (
	"strings"
	"testing"
)

func TestCheckNamesTheExpertThatIsNotLikeTheFirst(t *testing.T) {
	of := func(f Format, rows, cols int) Matrix {
		return Matrix{Format: f, Rows: rows, Cols: cols, Data: make([]byte, f.MatrixBytes(rows, cols))}
	}
	two := func(m Matrix) []Matrix { return []Matrix{m, m} }
	good := Experts{Gate: two(of(F16, 3, 4)), Up: two(of(BF16, 3, 4)), Down: two(of(F32, 4, 3))}
	if err := good.Check(); err != nil || good.Len() != 2 || good.Width() != 3 || good.Hidden() != 4 {
		t.Errorf("%v, %d experts [%d][%d]", err, good.Len(), good.Width(), good.Hidden())
	}
	short := of(F32, 4, 3)
	short.Data = short.Data[1:]
	for want, e := range map[string]Experts{
		"2 gates, 1 matrices up":    {Gate: good.Gate, Up: good.Up[:1], Down: good.Down},
		"0 gates":                   {},
		"[3][4], [3][4] and [4][4]": {Gate: good.Gate, Up: good.Up, Down: two(of(F32, 4, 4))},
		"expert 1 has [3][4] in F32, expert 0 [3][4] in F16": {Gate: []Matrix{good.Gate[0], of(F32, 3, 4)}, Up: good.Up, Down: good.Down},
		"expert 1: 47 bytes": {Gate: good.Gate, Up: good.Up, Down: []Matrix{good.Down[0], short}},
	} {
		if err := e.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
