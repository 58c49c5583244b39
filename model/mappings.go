package model

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mappings is files that are mapped into memory, read-only.
type mappings struct{ maps [][]byte }

func (m *mappings) places() [][]byte { return m.maps }

// file maps a file until close.
func (m *mappings) file(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return nil, fmt.Errorf("%s: not a file with weights", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // a mapping outlives its descriptor
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping %d bytes: %w", path, info.Size(), err)
	}
	m.maps = append(m.maps, b)
	return b, nil
}

// forget is for pages of the files themselves: it would clear those that Settle put in their place.
func (m *mappings) forget() {
	for _, b := range m.maps {
		_ = unix.Madvise(b, unix.MADV_DONTNEED) // if it fails they merely stay
	}
}

func (m *mappings) close() error {
	var errs []error
	for _, b := range m.maps {
		errs = append(errs, unix.Munmap(b))
	}
	m.maps = nil
	return errors.Join(errs...)
}
