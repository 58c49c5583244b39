package shm

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// seals are those of all memory: its size stays.
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// Memory is a piece of memory, mapped here.
type Memory struct {
	mu   sync.Mutex
	file *os.File // nil once it is closed
	data []byte

	files []int // of a stream: what wakes its readers
}

// New takes size bytes, more than 0. They are zero.
func New(size int) (*Memory, error) {
	fd, err := unix.MemfdCreate("orrery", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("shared memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "shared memory")
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shared memory of %d bytes: %w", size, err), f.Close())
	}
	return mapped(f, size)
}

// mapped maps a file, which it closes if that fails.
func mapped(f *os.File, size int) (*Memory, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping %d bytes of shared memory: %w", size, err), f.Close())
	}
	return &Memory{file: f, data: data}, nil
}

// adopt maps memory that somebody else has made, if nobody can shorten it.
func adopt(f *os.File, files []int, size int) (*Memory, error) {
	var s unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &s)
	if err == nil && s.Size != int64(size) {
		err = fmt.Errorf("%d bytes of shared memory, want %d", s.Size, size)
	}
	if err == nil {
		var have int
		if have, err = unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err == nil && have&seals != seals {
			err = errors.New("shared memory whose size may change")
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), closeAll(files))
	}
	m, err := mapped(f, size)
	if err != nil {
		return nil, errors.Join(err, closeAll(files))
	}
	m.files = files
	return m, nil
}

// addWakers makes memory that of a stream.
func (m *Memory) addWakers() (err error) {
	m.files, err = newWakers()
	return err
}

// again is the same memory, mapped once more.
func (m *Memory) again() (*Memory, error) {
	var fds []int
	for _, fd := range append([]int{int(m.file.Fd())}, m.files...) {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(os.NewSyscallError("fcntl", err), closeAll(fds))
		}
		fds = append(fds, dup)
	}
	return adopt(os.NewFile(uintptr(fds[0]), "shared memory"), fds[1:], len(m.data))
}

func closeAll(fds []int) (err error) {
	for _, fd := range fds {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}

// Bytes is the memory. It begins with a page.
func (m *Memory) Bytes() []byte { return m.data }

// Close gives up this process's share of the memory: nothing may use [Memory.Bytes] any more. A second call does nothing.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(m.data), m.file.Close(), closeAll(m.files))
	m.file, m.data, m.files = nil, nil, nil
	return err
}
