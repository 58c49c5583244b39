package pacing

import (
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// withFD gives f the descriptor of a connection.
func withFD(t *testing.T, f func(fd int)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

func TestOffLeavesNoConnectionPaced(t *testing.T) {
	withFD(t, func(fd int) {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr"); err != nil {
			t.Skipf("no BBR here: %v", err)
		}
		if got := control(fd); got != "bbr" {
			t.Fatalf("the control is %q, want bbr", got)
		}
		Off(fd)
		if got := control(fd); !slices.Contains([]string{"cubic", "reno"}, got) {
			t.Errorf("the control is %q, want cubic or reno", got)
		}
	})
}

func TestOffChangesNothingElse(t *testing.T) {
	withFD(t, func(fd int) {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno"); err != nil {
			t.Fatal(err)
		}
		Off(fd)
		if got := control(fd); got != "reno" {
			t.Errorf("the control is %q, want reno as before", got)
		}
	})
}
