package rdma

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/transport/verbs"
)

// staging is the memory of one connection, registered once: slots for sends, then slots for receives.
type staging struct {
	memory []byte
	mr     *verbs.MR
	base   uintptr
	stride int // of slots, in bytes
	sends  int
}

func newStaging(pd *verbs.PD, p profile) (*staging, error) {
	const line = 64
	s := &staging{stride: (p.slotBytes + line - 1) / line * line, sends: p.sends()}
	bytes := s.stride * (p.sends() + p.receives())
	var err error
	// Mapped, not allocated: Go's memory must not be shared with the adapter, and macOS accepts no other.
	if s.memory, err = unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		return nil, fmt.Errorf("memory for %d slots: %w", p.sends()+p.receives(), err)
	}
	s.base = uintptr(unsafe.Pointer(&s.memory[0]))
	if s.mr, err = pd.Register(s.base, bytes, p.access); err != nil {
		hint := ""
		if errors.Is(err, syscall.ENOMEM) {
			hint = "; raise the limit on locked memory (ulimit -l), or the adapter has no registration left"
		}
		return nil, errors.Join(fmt.Errorf("registering %d bytes: %w%s", bytes, err, hint), unix.Munmap(s.memory))
	}
	return s, nil
}

// slot i of the sends, or of the receives.
func (s *staging) send(i int) ([]byte, uintptr)    { return s.slot(i) }
func (s *staging) receive(i int) ([]byte, uintptr) { return s.slot(s.sends + i) }

func (s *staging) slot(i int) ([]byte, uintptr) {
	at := i * s.stride
	return s.memory[at : at+s.stride : at+s.stride], s.base + uintptr(at)
}

// close gives the memory back, once no queue pair uses it.
func (s *staging) close() error { return errors.Join(s.mr.Close(), unix.Munmap(s.memory)) }
