package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxSmallFile bounds the files that are read whole: configurations, indexes, tokenizers.
const maxSmallFile = 64 << 20

// source is where a model's files come from. What it hands out stays valid until close, and is
// never written.
type source interface {
	// read returns a whole small file; a missing one gives an error that is fs.ErrNotExist.
	read(name string) ([]byte, error)
	// weights returns a file of any size, without reading it.
	weights(name string) ([]byte, error)
	// mapped says whether weights lie in files of their own, which can be read ahead and forgotten.
	mapped() bool
	// forget lets go of the pages of weights that were read so far. They are read again when they are needed.
	forget()
	close() error
}

// dirSource is a folder. Weights are mapped into memory.
type dirSource struct {
	dir  string
	maps [][]byte
}

func (d *dirSource) mapped() bool { return true }

func (d *dirSource) read(name string) ([]byte, error) {
	path := filepath.Join(d.dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSmallFile {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", path, maxSmallFile)
	}
	return os.ReadFile(path)
}

func (d *dirSource) weights(name string) ([]byte, error) {
	path := filepath.Join(d.dir, name)
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
	d.maps = append(d.maps, b)
	return b, nil
}

func (d *dirSource) forget() {
	for _, b := range d.maps {
		_ = unix.Madvise(b, unix.MADV_DONTNEED) // if it fails they merely stay
	}
}

func (d *dirSource) close() error {
	var errs []error
	for _, b := range d.maps {
		errs = append(errs, unix.Munmap(b))
	}
	d.maps = nil
	return errors.Join(errs...)
}

// embeddedSource is files that are part of the program: name to content, as go:embed fills a string.
type embeddedSource map[string]string

func (embeddedSource) mapped() bool { return false }

func (embeddedSource) forget() {}

func (e embeddedSource) read(name string) ([]byte, error) {
	s, ok := e[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s)), nil
}

func (e embeddedSource) weights(name string) ([]byte, error) { return e.read(name) }

func (embeddedSource) close() error { return nil }
