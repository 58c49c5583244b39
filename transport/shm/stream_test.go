//go:build linux

package shm

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var small = Room{Out: 12 << 10, Back: 4 << 10}

// ends is both ends of a stream.
func ends(t *testing.T) (made, fetched *Stream) {
	t.Helper()
	made, fetched, err := Pair(small)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Close(); fetched.Close() })
	return made, fetched
}

// Pieces of all sizes, larger and smaller than the room, both ways at once; who reads has them as they were written.
func TestAStreamIsReadAsItWasWritten(t *testing.T) {
	made, fetched := ends(t)
	var wg sync.WaitGroup
	for i, way := range [][2]*Stream{{made, fetched}, {fetched, made}} {
		from, to := way[0], way[1]
		want := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{byte(i)}).Read(want)
		wg.Go(func() {
			for left := want; len(left) > 0; {
				n, k := min(len(left), 1+rand.IntN(20_000)), 0
				if n > 1 {
					k = rand.IntN(n)
				}
				if err := from.WriteBuffers([][]byte{left[:k], nil, left[k:n]}, time.Minute); err != nil {
					t.Error(err)
					return
				}
				left = left[n:]
			}
		})
		wg.Go(func() {
			got := make([]byte, 0, len(want))
			for len(got) < len(want) {
				n, err := to.Read(got[len(got):min(len(want), len(got)+1+rand.IntN(9_000))])
				if err != nil {
					t.Error(err)
					return
				}
				got = got[:len(got)+n]
			}
			if !bytes.Equal(got, want) {
				t.Error("it is not")
			}
		})
	}
	wg.Wait()
}

func TestWhatWasWrittenBeforeTheEndCanBeRead(t *testing.T) {
	for name, end := range map[string]func(from, to *Stream){
		"closed":    func(from, _ *Stream) { from.Close() },
		"process":   func(_, to *Stream) { to.Hangup() },
		"both ways": func(from, to *Stream) { to.Hangup(); from.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			to, from := ends(t)
			if _, err := from.Write([]byte("last")); err != nil {
				t.Fatal(err)
			}
			end(from, to)
			if got, err := io.ReadAll(to); string(got) != "last" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := to.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("a write afterwards gives %v", err)
			}
		})
	}
}

func TestAWriteWithoutAReaderEndsAtItsDeadline(t *testing.T) {
	_, from := ends(t)
	if err := from.WriteBuffers([][]byte{make([]byte, small.Out+1)}, 10*time.Millisecond); err != os.ErrDeadlineExceeded {
		t.Errorf("the error is %v", err)
	}
}

func TestCloseEndsEveryWaitAtBothEnds(t *testing.T) {
	for _, which := range []int{0, 1} {
		made, fetched := ends(t)
		both := []*Stream{made, fetched}
		errs := make(chan error, 4)
		for _, s := range both {
			go func() { _, err := s.Read(make([]byte, 1)); errs <- err }()
		}
		for _, s := range both {
			// More than there is room for, with a reader who takes one byte at the most.
			go func() { _, err := s.Write(make([]byte, 2*small.Out)); errs <- err }()
		}
		for range 2 { // both have read
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range both {
			go func() { io.Copy(io.Discard, onlyWhenClosed{s}); errs <- io.EOF }()
		}
		both[which].Close()
		for range 4 {
			if err := <-errs; err == nil {
				t.Error("a wait ended without an error")
			}
		}
		if both[which].Close() != nil {
			t.Error("a second Close is an error")
		}
	}
}

// onlyWhenClosed waits at a stream without taking anything out, until it has ended.
type onlyWhenClosed struct{ s *Stream }

func (o onlyWhenClosed) Read(b []byte) (int, error) {
	for o.s.enter() { // which keeps the memory mapped
		over := o.s.over()
		o.s.leave()
		if over {
			break
		}
		o.s.Await(time.Millisecond)
	}
	return 0, io.EOF
}

// readable says whether a descriptor can be read.
func readable(fd int) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds[:], 0)
	return n == 1
}

func TestTheBellRingsOnceForEachWatchAndOnlyThen(t *testing.T) {
	to, from := ends(t)
	rung := func() bool { return readable(int(to.mine.bell)) }
	write := func() {
		t.Helper()
		if _, err := from.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if rung() {
		t.Error("it rings though nobody watches")
	}
	if to.Watch(); !rung() {
		t.Error("it does not ring for what is there already")
	}
	if to.Silence(); rung() {
		t.Error("it rings on")
	}
	write()
	if rung() {
		t.Error("it rings again without another Watch")
	}
	to.Read(make([]byte, 10))
	to.Watch()
	if rung() {
		t.Error("it rings for nothing")
	}
	if write(); !rung() {
		t.Error("it does not ring for what comes")
	}
	to.Silence()
	to.Read(make([]byte, 10))
	to.Watch()
	to.Unwatch()
	if write(); rung() {
		t.Error("it rings after Unwatch")
	}
	to.Watch()
	to.Silence()
	to.Read(make([]byte, 10))
	to.Watch()
	if from.Close(); !rung() {
		t.Error("it does not ring for the end")
	}
}

// The bell stays open at the other end: whoever watches it must be told before it is closed here.
func TestTheBellIsHiddenBeforeItIsClosed(t *testing.T) {
	to, _ := ends(t)
	var shown, hidden int
	if err := to.ShowBell(func(fd int) error { shown = fd; return nil }, func(fd int) {
		hidden = fd
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			t.Errorf("it was closed: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if to.Close(); hidden != shown || shown == 0 {
		t.Errorf("%d was shown, %d hidden", shown, hidden)
	}
	if err := to.ShowBell(func(int) error { return nil }, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Whatever the other process writes where the counts are, this one neither reads nor writes beyond the ring.
func TestCountsThatCannotBeAreErrors(t *testing.T) {
	to, from := ends(t)
	from.out.head.put.Store(uint64(small.Out) + 1)
	if _, err := to.TryRead(make([]byte, 10)); err != errBroken {
		t.Errorf("more than there is room for: %v", err)
	}
	from.out.head.taken.Store(5)
	if err := from.WriteBuffers([][]byte{make([]byte, small.Out+1)}, time.Second); err != errBroken {
		t.Errorf("more taken than was put: %v", err)
	}
}

func TestARoomThatCannotBeIsAnError(t *testing.T) {
	for _, r := range []Room{{}, {4096, 100}, {5000, 4096}, {-4096, 4096}} {
		if s, err := NewStream(r); err == nil {
			s.Close()
			t.Errorf("%+v makes a stream", r)
		}
	}
}

// The memory of a lane is no stream.
func TestMemoryWithoutWakersIsNoStream(t *testing.T) {
	m, err := New(small.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, o := serving(t, m)
	if _, err := FetchStream(soon(), o, []byte("one"), small); err == nil {
		t.Error("it was taken for one")
	}
	m.Close()
}

// childOffer has this test binary be the other process.
const childOffer = "ORRERY_SHM_TEST_OFFER"

func TestTwoProcessesTalkThroughAStream(t *testing.T) {
	s, err := NewStream(small)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server, o := serving(t, s.Memory())
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$")
	cmd.Env = append(os.Environ(), childOffer+"="+hex.EncodeToString(o.Append(nil)))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{9}).Read(want)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Write(want); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it came back otherwise: %v", err)
	}
	wg.Wait()
	if _, err := s.Read(got); err != io.EOF {
		t.Errorf("after its end: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	server.Close()
}

// TestOtherProcess is not a test but the other process of [TestTwoProcessesTalkThroughAStream]: it sends back what comes.
func TestOtherProcess(t *testing.T) {
	text := os.Getenv(childOffer)
	if text == "" {
		t.Skip("it is for another test's child")
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	o, err := ParseOffer(b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := FetchStream(soon(), o, []byte("one"), small)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.CopyN(s, s, 300_000); err != nil {
		t.Fatal(err)
	}
}
