package rdma

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/internal/standin"
)

// so answers whether to poll, and counts how often it was asked.
type so struct {
	may   bool
	asked atomic.Int32
}

func (s *so) MaySpin(_, _ time.Time) bool { s.asked.Add(1); return s.may }

func TestACallPollsOnlyWhereTheGuardLetsIt(t *testing.T) {
	f := standin.Start(t)
	p := provider(t, f)
	a, _ := connect(t, p, p)
	for _, may := range []bool{false, true} {
		guard := &so{may: may}
		a.SetSpin(time.Hour, guard)
		a.SetReadDeadline(soonest())
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if n := guard.asked.Load(); may && n < 2 || !may && n != 1 {
			t.Errorf("may %t: asked %d times", may, n)
		}
	}
}
