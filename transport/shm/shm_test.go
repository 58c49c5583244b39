//go:build linux

package shm

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 3 << 12

func soon() time.Time { return time.Now().Add(time.Minute) }

func memory(t *testing.T) *Memory {
	t.Helper()
	m, err := New(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// serving is a server that hands out a piece of memory for the request "one", and what to ask it with.
func serving(t *testing.T, m *Memory) (*Server, Offer) {
	t.Helper()
	ask, answer := NewSecret(), NewSecret()
	s, err := Listen(func(secret Secret, request []byte) (*Memory, Secret, error) {
		switch {
		case secret != ask:
			return nil, Secret{}, errors.New("the secret is wrong")
		case string(request) != "one":
			return nil, answer, errors.New("there is only one")
		}
		return m, answer, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, Offer{Server: s.Name(), Ask: ask, Answer: answer}
}

func TestBothEndsSeeWhatEitherWrites(t *testing.T) {
	m := memory(t)
	if len(m.Bytes()) != size || !bytes.Equal(m.Bytes(), make([]byte, size)) {
		t.Fatal("new memory is not zero")
	}
	_, o := serving(t, m)
	other, err := Fetch(soon(), o, []byte("one"), size)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	copy(m.Bytes()[100:], "to")
	copy(other.Bytes()[200:], "fro")
	if string(other.Bytes()[100:102]) != "to" || string(m.Bytes()[200:203]) != "fro" {
		t.Error("they do not")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if string(other.Bytes()[100:102]) != "to" {
		t.Error("the memory has gone with the end that made it")
	}
	if err := m.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestNobodyCanShortenMemory(t *testing.T) {
	m := memory(t)
	for _, n := range []int64{0, size - 1, size + 1} {
		if err := unix.Ftruncate(int(m.file.Fd()), n); err == nil {
			t.Errorf("it has %d bytes now", n)
		}
	}
}

func TestOnlyWhoKnowsTheSecretIsAnswered(t *testing.T) {
	m := memory(t)
	s, good := serving(t, m)
	wrong := good
	wrong.Ask[3]++
	other := good
	other.Answer[3]++
	gone := good
	gone.Server = NewSecret()
	for _, c := range []struct {
		name    string
		offer   Offer
		request string
		size    int
		want    string
	}{
		{"a wrong secret", wrong, "one", size, "EOF"},
		{"an answer that is not from the peer", other, "one", size, "not from the peer"},
		{"another request", good, "two", size, "there is only one"},
		{"memory of another size", good, "one", size + 1, "want 12289"},
		{"a request that is too long", good, strings.Repeat("x", MostRequest+1), size, "EOF"},
		{"nobody at that name", gone, "one", size, ErrElsewhere.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Fetch(soon(), c.offer, []byte(c.request), c.size)
			if err == nil {
				m.Close()
				t.Fatal("memory is handed out")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
	m.Close()
	if _, err := Fetch(soon(), good, []byte("one"), size); err == nil || !strings.Contains(err.Error(), os.ErrClosed.Error()) {
		t.Errorf("memory that was closed: %v", err)
	}
	s.Close()
	if _, err := Fetch(soon(), good, []byte("one"), size); !errors.Is(err, ErrElsewhere) {
		t.Errorf("a server that was closed: %v", err)
	}
}

// A peer may answer with a file that it can shorten later.
func TestMemoryWhoseSizeMayChangeIsRefused(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	s, o := serving(t, &Memory{file: f})
	if _, err := Fetch(soon(), o, []byte("one"), size); err == nil || !strings.Contains(err.Error(), "size may change") {
		t.Errorf("the error is %v", err)
	}
	s.Close()
	f.Close()
}

// Who connects and says nothing keeps nobody else from being answered, nor the server from ending.
func TestAServerEndsWhateverItsPeersDo(t *testing.T) {
	m := memory(t)
	s, o := serving(t, m)
	for range mostAsking - 1 {
		c, err := net.DialUnix("unixpacket", nil, address(o.Server))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	other, err := Fetch(soon(), o, []byte("one"), size)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnotherUserIsToldNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	m := memory(t)
	asked := make(chan struct{}, 1)
	s, err := Listen(func(Secret, []byte) (*Memory, Secret, error) {
		asked <- struct{}{}
		return m, Secret{1}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with the goroutine
		done <- askAs(65534, address(s.Name()).Name)
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(asked) > 0 {
		t.Error("the server has looked for what it asks for")
	}
}

// askAs asks a server, on a thread that becomes another user's. It gives an error if there is an answer.
func askAs(user uintptr, name string) error {
	if _, _, no := syscall.RawSyscall(unix.SYS_SETRESUID, user, user, user); no != 0 {
		return no
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		return err
	}
	if err := unix.Send(fd, make([]byte, SecretBytes+3), unix.MSG_NOSIGNAL); err != nil && err != unix.EPIPE {
		return err
	}
	if n, err := unix.Read(fd, make([]byte, 100)); n > 0 || err != nil && err != unix.ECONNRESET {
		return fmt.Errorf("it was told %d bytes: %w", n, err)
	}
	return nil
}

func FuzzAnOfferIsReadAsItWasWritten(f *testing.F) {
	f.Add(Offer{Server: Secret{1}, Ask: Secret{2}, Answer: Secret{3}}.Append(nil))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOffer(b)
		if err != nil {
			return
		}
		if got := o.Append(nil); !bytes.Equal(got, b) {
			t.Errorf("%x is written as %x", b, got)
		}
	})
}
