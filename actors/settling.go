package actors

import (
	"context"
	"sync"
	"time"
)

// SettleWait bounds how long a measurement waits for weights that are being moved into huge pages.
const SettleWait = 20 * time.Second

// settling is how many ranges of layers of a node are being moved into huge pages, which takes of the memory's speed that is to be measured.
type settling struct {
	mu    sync.Mutex
	count int
	none  chan struct{} // closed when there are none any more; nil while there are none
}

// begin counts one more, until done is called.
func (s *settling) begin() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count == 0 {
		s.none = make(chan struct{})
	}
	s.count++
	return s.end
}

func (s *settling) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count--; s.count == 0 {
		close(s.none)
		s.none = nil
	}
}

// wait returns when there are none, or after some time, or with ctx.
func (s *settling) wait(ctx context.Context, most time.Duration) {
	s.mu.Lock()
	none := s.none
	s.mu.Unlock()
	if none == nil {
		return
	}
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case <-none:
	case <-late.C:
	case <-ctx.Done():
	}
}
