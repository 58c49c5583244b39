package calibrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultDir is where measurements are kept unless told otherwise: below the user's cache directory.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "orrery"), nil
}

// Store keeps measurements in a directory, a file for each identity.
type Store struct {
	Dir    string // "" keeps nothing
	Logger *slog.Logger
}

// record is a file.
type record struct {
	Identity Identity  `json:"identity"`
	At       time.Time `json:"measured_at"`
	Measured
}

const maxRecord = 64 << 10 // bytes

func (s Store) path(id Identity) string {
	return filepath.Join(s.Dir, "calibration-"+digest(fmt.Sprintf("%+v", id))+".json")
}

// Get is what is kept of an identity. That there is nothing, or nothing that can be used, is false; the
// latter is logged.
func (s Store) Get(id Identity) (Measured, bool) {
	path := s.path(id)
	m, err := read(path, id)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Logger.Warn("a calibration that was kept cannot be used: measuring anew", "file", path, "err", err)
		}
		return Measured{}, false
	}
	return m, true
}

func read(path string, id Identity) (Measured, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Measured{}, err
	}
	if info.Size() > maxRecord {
		return Measured{}, fmt.Errorf("it has %d bytes, over %d", info.Size(), maxRecord)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Measured{}, err
	}
	return decode(b, id)
}

// decode reads a record and checks that it is of the identity and can be.
func decode(b []byte, id Identity) (Measured, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return Measured{}, err
	}
	switch {
	case r.Identity != id:
		return Measured{}, fmt.Errorf("it is of %+v, not of %+v", r.Identity, id)
	case !(r.Bandwidth >= 1 && r.Bandwidth <= 1e18):
		return Measured{}, fmt.Errorf("its bandwidth %v is not in 1..1e18 bytes/s", r.Bandwidth)
	case !(r.Others >= 0 && r.Others <= 1):
		return Measured{}, fmt.Errorf("others had %v of the machine", r.Others)
	case !r.Rates.Known():
		return Measured{}, errors.New("it has no rates")
	}
	if err := r.Rates.Check(); err != nil {
		return Measured{}, err
	}
	if r.Disturbed() && time.Since(r.At).Abs() > disturbedFor {
		return Measured{}, fmt.Errorf("other processes had %.0f%% of the machine when it was made", 100*r.Others)
	}
	return r.Measured, nil
}

// disturbedFor is how long a measurement that others disturbed is better than another one.
const disturbedFor = time.Hour

// Put keeps what was measured. The file is there whole or not at all.
func (s Store) Put(id Identity, m Measured) (err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(record{id, time.Now().UTC(), m}, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, "calibration-*.tmp") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path(id))
}

const (
	turnTimeout = 10 * time.Second
	turnEvery   = 20 * time.Millisecond
)

// turn waits until no other process measures, for as long as some of them take at the most: nodes that
// start at the same time would measure each other. done ends the turn.
func (s Store) turn(ctx context.Context) (done func(), err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.Dir, "measuring.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(turnTimeout)
	defer late.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, err
		}
		select {
		case <-time.After(turnEvery):
		case <-late.C:
			f.Close()
			return nil, fmt.Errorf("other processes have been measuring for %v", turnTimeout)
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// GetOr is what is kept of an identity or, if nothing is, what measure gives, which is then kept. That it
// cannot be kept is logged. Without a directory nothing is kept.
func (s Store) GetOr(ctx context.Context, id Identity, measure func() (Measured, error)) (Measured, error) {
	if s.Dir == "" {
		return measure()
	}
	if m, ok := s.Get(id); ok {
		return m, nil
	}
	done, err := s.turn(ctx)
	if ctx.Err() != nil {
		return Measured{}, context.Cause(ctx)
	}
	if err != nil {
		s.Logger.Warn("measuring without knowing whether others do", "dir", s.Dir, "err", err)
	} else {
		defer done()
		if _, err := os.Stat(s.path(id)); err == nil { // measured while we waited
			if m, ok := s.Get(id); ok {
				return m, nil
			}
		}
	}
	start := time.Now()
	m, err := measure()
	if err != nil {
		return m, err
	}
	s.Logger.Info("measured what this node can do", "took", time.Since(start).Round(time.Millisecond), "device", id.Device)
	if m.Disturbed() {
		s.Logger.Warn("other processes kept the machine busy while this node measured what it can do: predictions will be off, and a start in an hour or later measures again",
			"busy", fmt.Sprintf("%.0f%%", 100*m.Others))
	}
	if err := s.Put(id, m); err != nil {
		s.Logger.Warn("what was measured cannot be kept: the next start measures again", "dir", s.Dir, "err", err)
	}
	return m, nil
}
