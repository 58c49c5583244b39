package metalkern

import (
	"path/filepath"
	"testing"
)

func TestADeviceThatFailsIsListedBesideTheOthers(t *testing.T) {
	file, err := filepath.Abs("doc.go") // no directory: nothing that is compiled can be kept
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", file)
	t.Setenv("HOME", file)
	found := Find()
	if len(found) != len(Kinds) {
		t.Fatalf("%d of %d kinds are listed", len(found), len(Kinds))
	}
	for i, f := range found {
		if f.Kind != Kinds[i] {
			t.Errorf("%s stands in the place of %s", f.Kind, Kinds[i])
		}
		if f.Kind == "emulator" && f.Reason == "" {
			t.Error("an emulator that cannot be kept is said to work")
		}
	}
}
