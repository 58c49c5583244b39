package device

import (
	"strings"
	"testing"
)

func TestMatrixBytes(t *testing.T) {
	for _, c := range []struct {
		f    Format
		want int
	}{
		{F32, 3 * 512 * 4}, {F16, 3 * 512 * 2}, {BF16, 3 * 512 * 2}, {Q8_0, 3 * 16 * 34}, {Q4_0, 3 * 16 * 18},
		{Q4_K, 3 * 2 * 144}, {Q6_K, 3 * 2 * 210}, {MLX4, 3 * 256}, {MLX8, 3 * 512}, {0, 0},
	} {
		if got := c.f.MatrixBytes(3, 512); got != c.want {
			t.Errorf("[3][512] in %v takes %d bytes, want %d", c.f, got, c.want)
		}
	}
}

func TestCheckNamesWhatDoesNotFit(t *testing.T) {
	n := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		m    Matrix
		want string
	}{
		{Matrix{Format: Q4_K, Rows: 2, Cols: 256, Data: n(288)}, ""},
		{Matrix{Format: MLX4, Rows: 2, Cols: 64, Data: n(64), Scales: n(4), Biases: n(4), ScaleFormat: BF16, Group: 64}, ""},
		{Matrix{Format: 99, Rows: 1, Cols: 1}, "format unknown"},
		{Matrix{Format: F32, Rows: -1, Cols: 1}, "[-1][1]"},
		{Matrix{Format: Q4_K, Rows: 2, Cols: 128, Data: n(288)}, "blocks have 256 elements"},
		{Matrix{Format: Q8_0, Rows: 2, Cols: 32, Data: n(67)}, "67 bytes for [2][32] in Q8_0, which take 68"},
		{Matrix{Format: MLX4, Rows: 2, Cols: 64, Data: n(64), Group: 48}, "groups of 48"},
		{Matrix{Format: MLX8, Rows: 2, Cols: 96, Data: n(192), Group: 64}, "96 columns, in groups of 64"},
		{Matrix{Format: MLX4, Rows: 2, Cols: 64, Data: n(64), Group: 64, ScaleFormat: Q8_0}, "scales in format Q8_0"},
		{Matrix{Format: MLX4, Rows: 2, Cols: 64, Data: n(64), Scales: n(4), Biases: n(3), ScaleFormat: F16, Group: 64}, "4 and 3 bytes"},
	} {
		err := c.m.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.m.Format, err, c.want)
		}
	}
}
