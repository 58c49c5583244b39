package dynlib

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"
)

func TestAnErrorNamesThePathAndTheReason(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			path := filepath.Join(t.TempDir(), "nothing.so")
			for range 200 {
				_, err := Open(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
				if err == nil || !strings.Contains(err.Error(), path) || len(err.Error()) < len(path)+10 {
					t.Errorf("the error is %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}
