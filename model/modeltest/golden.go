package modeltest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/npy"
)

// Golden is a case that the reference implementation has computed (research/make_goldens.py): token ids,
// and the logits of each.
type Golden struct {
	Name string
	Root string // folder of all goldens
}

// Goldens lists the tiny models in a folder of goldens.
func Goldens(tb testing.TB, root string) []Golden {
	tb.Helper()
	files, err := filepath.Glob(root + "/*/config.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no goldens in %s: %v", root, err)
	}
	var gs []Golden
	for _, f := range files {
		gs = append(gs, Golden{filepath.Base(filepath.Dir(f)), root})
	}
	return gs
}

// Dir makes a folder, for the time of the test, of the case's configuration and the weights that it
// shares with others.
func (g Golden) Dir(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	weights := strings.TrimSpace(string(g.read(tb, "weights.txt")))
	files, err := filepath.Glob(filepath.Join(g.Root, "weights", weights, "*"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range append(files, filepath.Join(g.Root, g.Name, "config.json")) {
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// IDs is the token ids.
func (g Golden) IDs(tb testing.TB) []int32 { return g.ints(tb, "ids.txt") }

// Positions is the tokens that Logits has rows of, where it does not have all.
func (g Golden) Positions(tb testing.TB) []int32 { return g.ints(tb, "positions.txt") }

// Logits is the reference's logits, [tokens][vocabulary].
func (g Golden) Logits(tb testing.TB) device.Tensor {
	tb.Helper()
	rows, cols, data, err := npy.Read(g.read(tb, "logits.npy"))
	if err != nil {
		tb.Fatalf("%s: %v", g.Name, err)
	}
	return device.Tensor{Rows: rows, Cols: cols, Data: data}
}

func (g Golden) ints(tb testing.TB, file string) []int32 {
	tb.Helper()
	var out []int32
	for _, word := range strings.Fields(string(g.read(tb, file))) {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			tb.Fatalf("%s: %v", g.Name, err)
		}
		out = append(out, int32(n))
	}
	return out
}

func (g Golden) read(tb testing.TB, file string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(g.Root, g.Name, file))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
