package rdma

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/orrery-ai/orrery/internal/standin"
)

// childVariable makes the test program a peer: the address to dial.
const childVariable = "ORRERY_RDMA_TEST_PEER"

// child connects to the test, and sends back what it reads.
func child() {
	nc, err := net.Dial("tcp", os.Getenv(childVariable))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	p, err := Open(Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	c, err := p.Upgrade(nc, "parent", soon())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	b := make([]byte, 1<<16)
	for {
		n, err := c.Read(b)
		if err == nil {
			_, err = c.Write(b[:n])
		}
		if err != nil {
			fmt.Println("ended:", err)
			return
		}
	}
}

// startChild starts another process and connects to it.
func startChild(t *testing.T, f *standin.Fabric) (*Conn, *exec.Cmd, *bufio.Reader) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(os.Args[0])
	f.Share(t, "")
	cmd.Env = append(os.Environ(), childVariable+"="+ln.Addr().String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := provider(t, f)
	c, err := p.Upgrade(nc, "child", soon())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, cmd, bufio.NewReader(out)
}

func TestTwoProcessesExchange(t *testing.T) {
	f := standin.Start(t)
	c, _, out := startChild(t, f)
	for _, n := range []int{1, 4096, 64 << 10, 300_000} {
		b := make([]byte, n)
		b[n-1] = byte(n)
		send(t, c, b)
		want(t, c, b)
	}
	c.Close()
	if line, _ := out.ReadString('\n'); line != "ended: EOF\n" {
		t.Errorf("the peer says %q", line)
	}
}

func TestKilledPeerIsNoticedByReadsAndWrites(t *testing.T) {
	f := standin.Start(t)
	c, cmd, _ := startChild(t, f)
	send(t, c, []byte("well"))
	want(t, c, []byte("well"))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(soon())
	_, err := c.Read(make([]byte, 1))
	if err == nil || !strings.Contains(err.Error(), "peer child is gone") {
		t.Errorf("Read gives %v", err)
	}
	if _, again := c.Write([]byte("?")); again == nil || again.Error() != err.Error() {
		t.Errorf("Write gives %v, Read gave %v", again, err)
	}
}

func TestFrozenPeerIsNoticedByTheDeadline(t *testing.T) {
	f := standin.Start(t)
	c, cmd, _ := startChild(t, f)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(soonest())
	if _, err := c.Write(make([]byte, 10<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write gives %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read gives %v", err)
	}
}
