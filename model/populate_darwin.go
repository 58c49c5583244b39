package model

import (
	"errors"

	"golang.org/x/sys/unix"
)

// populate only announces that the pages of b will be needed: macOS cannot be asked to map them.
func populate(b []byte) error {
	_ = unix.Madvise(b, unix.MADV_WILLNEED) // a hint
	return errors.ErrUnsupported
}
