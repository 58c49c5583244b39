package metalkern

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// findsInChild tells the test below that it is in a process of its own.
const findsInChild = "ORRERY_TEST_FINDS"

func TestADeviceThatFailsIsListedBesideTheOthers(t *testing.T) {
	if os.Getenv(findsInChild) == "" {
		// An emulator that this process has opened before would go on working.
		file, err := filepath.Abs("doc.go") // no directory: nothing that is compiled can be kept
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), findsInChild+"=1", "XDG_CACHE_HOME="+file, "HOME="+file)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
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
