package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileThatCannotBeWrittenWholeDoesNotStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "half")
	full := errors.New("the disk is full")
	err := writeFile("--out", path, func(f *os.File) error {
		_, err := f.WriteString("half of it")
		return errors.Join(err, full)
	})
	if !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("it is there: %v", err)
	}
}

func TestWhatIsNoFileIsNotRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, path); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	if err := writeFile("--out", path, func(*os.File) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestWhetherAFileCanBeWrittenLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	absent, link := filepath.Join(dir, "absent"), filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "later"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{absent, link} {
		if err := canWrite("--plot", path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was not there: %v", err)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Errorf("a link that leads to nothing yet: %v", err)
	}
}

func TestAPicturesNameSaysItsFormat(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{"a.svg": "svg", "a.PNG": "png", "a.jpg": "", "a": ""} {
		got := ""
		err := draw(filepath.Join(dir, name), func(_ io.Writer, format string) error { got = format; return nil })
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
