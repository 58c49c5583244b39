//go:build !race

package transport

import "testing"

func TestSteadyStateAllocatesNothing(t *testing.T) {
	eachSynch(t, func(t *testing.T, synch Synch) {
		a, b := pair(t, Config{Synch: synch})
		for name, to := range map[string]*Endpoint{"socket": b, "own node": a} {
			for _, n := range []int{64, 32 << 10, 400_000} {
				s, r := lane(t, a, to, LaneKey{uint64(n), Partial}, n+8)
				head, body := make([]byte, 8), make([]byte, n)
				exchange := func() {
					if err := s.Send(soon(), head, body[:n/2], body[n/2:]); err != nil {
						t.Fatal(err)
					}
					m, err := r.Receive(soon())
					if err != nil {
						t.Fatal(err)
					}
					m.Release()
				}
				for range 20 { // each of the lane's buffers is made once
					exchange()
				}
				if got := testing.AllocsPerRun(200, exchange); got > 0 {
					t.Errorf("%s, %d bytes: %v allocations for Send and Receive", name, n, got)
				}
			}
		}
	})
}
