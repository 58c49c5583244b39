package compiled

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhatNobodyUsesIsRemoved(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-2 * unused)
	stays := map[string]bool{"new": true, "old": false, "old but used": true, "old directory": true}
	for name := range stays {
		path := filepath.Join(dir, name)
		if name == "old directory" {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte("code"), 0o644); err != nil {
			t.Fatal(err)
		}
		if name != "new" {
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
		if name == "old but used" {
			Used(path)
		}
	}
	Trim(dir)
	Trim(filepath.Join(dir, "missing"))
	for name, want := range stays {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
}
