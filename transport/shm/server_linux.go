package shm

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// askTimeout bounds what a server waits for one who asks.
	askTimeout = 3 * time.Second
	// mostAsking is how many may ask at the same time.
	mostAsking = 16
	// restAfter is how long a server rests when it cannot take a connection.
	restAfter = 100 * time.Millisecond
)

// Server hands out memory. Make it with [Listen].
type Server struct {
	name Secret
	find func(ask Secret, request []byte) (*Memory, Secret, error)
	ln   *net.UnixListener
	ctx  context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup
}

// Listen starts a server. find is asked, by several goroutines, for the memory of a request of one who knows a secret, and for the secret to
// answer with; its error is told to the one who asks, if there is a secret to answer with.
func Listen(find func(ask Secret, request []byte) (*Memory, Secret, error)) (*Server, error) {
	s := &Server{name: NewSecret(), find: find}
	var err error
	if s.ln, err = net.ListenUnix("unixpacket", address(s.name)); err != nil {
		return nil, fmt.Errorf("shared memory: %w", err)
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.wg.Go(s.run)
	return s, nil
}

// address is that of a server: in the namespace of sockets that have no files.
func address(name Secret) *net.UnixAddr {
	return &net.UnixAddr{Net: "unixpacket", Name: "@orrery-" + hex.EncodeToString(name[:])}
}

// Name is what the server's offers begin with.
func (s *Server) Name() Secret { return s.name }

// Close ends the server, and waits for its goroutines.
func (s *Server) Close() error {
	s.end()
	err := s.ln.Close()
	s.wg.Wait()
	return err
}

func (s *Server) run() {
	asking := make(chan struct{}, mostAsking)
	for {
		c, err := s.ln.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			select {
			case <-time.After(restAfter):
			case <-s.ctx.Done():
			}
			continue
		}
		select {
		case asking <- struct{}{}:
			s.wg.Go(func() {
				defer func() { <-asking }()
				s.answer(c)
			})
		default:
			c.Close()
		}
	}
}

// answer answers one request. Who does not know a secret, or is another user, is told nothing.
func (s *Server) answer(c *net.UnixConn) {
	defer c.Close()
	defer context.AfterFunc(s.ctx, func() { c.Close() })()
	c.SetDeadline(time.Now().Add(askTimeout))
	if sameUser(c) != nil {
		return
	}
	b := make([]byte, SecretBytes+MostRequest+1)
	n, err := c.Read(b)
	if err != nil || n < SecretBytes || n == len(b) {
		return
	}
	m, answer, err := s.find(Secret(b[:SecretBytes]), b[SecretBytes:n])
	if answer == (Secret{}) {
		return
	}
	if err == nil {
		if err = m.send(c, answer); err == nil {
			return
		}
	}
	reason := err.Error()
	c.Write(append(answer[:], reason[:min(len(reason), mostReason)]...))
}

// mostReason bounds the text of a refusal, in bytes.
const mostReason = 256

// send sends the memory behind a secret.
func (m *Memory) send(c *net.UnixConn, answer Secret) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return os.ErrClosed
	}
	_, _, err := c.WriteMsgUnix(answer[:], unix.UnixRights(append([]int{int(m.file.Fd())}, m.files...)...), nil)
	return err
}

// sameUser says if the process at the other end is another user's.
func sameUser(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var other *unix.Ucred
	if failed := raw.Control(func(fd uintptr) { other, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); failed != nil {
		return failed
	}
	if err == nil && int(other.Uid) != os.Geteuid() {
		err = errors.New("the peer's process is another user's")
	}
	return err
}

// Fetch asks the peer that made an offer for memory of size bytes, by a request of at most MostRequest bytes. If the peer is not on
// this machine the error is ErrElsewhere.
func Fetch(deadline time.Time, o Offer, request []byte, size int) (*Memory, error) {
	dialer := net.Dialer{Deadline: deadline}
	nc, err := dialer.Dial("unixpacket", address(o.Server).Name)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrElsewhere
	}
	if err != nil {
		return nil, fmt.Errorf("shared memory: %w", err)
	}
	defer nc.Close()
	c := nc.(*net.UnixConn)
	c.SetDeadline(deadline)
	if err := sameUser(c); err != nil {
		return nil, err
	}
	if _, err := c.Write(append(o.Ask[:], request...)); err != nil {
		return nil, fmt.Errorf("shared memory: %w", err)
	}
	b, rights := make([]byte, SecretBytes+mostReason), make([]byte, unix.CmsgSpace(4*mostFiles))
	n, nr, _, _, err := c.ReadMsgUnix(b, rights)
	fds, bad := received(rights[:nr])
	if err == nil {
		err = bad
	}
	switch {
	case err != nil:
	case n < SecretBytes || Secret(b[:SecretBytes]) != o.Answer:
		err = errors.New("the answer is not from the peer")
	case n > SecretBytes:
		err = fmt.Errorf("the peer says: %q", b[SecretBytes:n])
	case len(fds) == 0:
		err = errors.New("the answer has no memory")
	default:
		return adopt(os.NewFile(uintptr(fds[0]), "shared memory"), fds[1:], size)
	}
	return nil, errors.Join(fmt.Errorf("shared memory: %w", err), closeAll(fds))
}

// mostFiles is how many files an answer has: memory and, of a stream, what wakes its readers.
const mostFiles = 1 + wakerFiles

// received is the files that came with a message.
func received(rights []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	return unix.ParseUnixRights(&messages[0])
}
