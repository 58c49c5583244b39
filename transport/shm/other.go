//go:build !linux

package shm

import (
	"sync/atomic"
	"time"
)

// Memory is a piece of memory; there is none.
type Memory struct{ files []int }

// New says that there is no shared memory.
func New(int) (*Memory, error) { return nil, ErrUnsupported }

// Bytes is nothing.
func (m *Memory) Bytes() []byte { return nil }

// Close does nothing.
func (m *Memory) Close() error { return nil }

// Server hands out memory; there is none.
type Server struct{}

// Listen says that there is no shared memory.
func Listen(func(ask Secret, request []byte) (*Memory, Secret, error)) (*Server, error) {
	return nil, ErrUnsupported
}

// Name is nothing.
func (s *Server) Name() Secret { return Secret{} }

// Close does nothing.
func (s *Server) Close() error { return nil }

// Fetch says that there is no shared memory.
func Fetch(time.Time, Offer, []byte, int) (*Memory, error) { return nil, ErrUnsupported }

func (m *Memory) addWakers() error                  { return ErrUnsupported }
func (m *Memory) again() (*Memory, error)           { return nil, ErrUnsupported }
func sleepOn(*atomic.Uint32, uint32, time.Duration) {}
func wakeOn(*atomic.Uint32)                         {}

func (bell) ring()               {}
func (bell) silence()            {}
func (rest) wake()               {}
func (rest) sleep(time.Duration) {}
