package main

import (
	"os"
	"path/filepath"
	"testing"
)

// dir is where the files are, seen from here.
const dir = "../.."

func TestFilesAreWhatTheGeneratorWrites(t *testing.T) {
	all := files()
	for name, text := range all {
		if there, err := os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		} else if string(there) != string(text) {
			t.Errorf("%s differs: run go generate in device/cpu/simd", name)
		}
	}
	there, err := filepath.Glob(filepath.Join(dir, "*_arm64.s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range there {
		if all[filepath.Base(path)] == nil {
			t.Errorf("nothing writes %s", path)
		}
	}
}
