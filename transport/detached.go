package transport

import (
	"net"
	"time"
)

// detached is a connection that is out of Go's poller: a Read never waits, and gives errNotYet; whoever wants to wait does it himself.
type detached interface {
	net.Conn
	// writev writes bufs, and consumes them.
	writev(bufs *net.Buffers) error
	// awaitInput waits in the kernel until there is something to read, but no longer than most. It may return too early. The thread waits with the
	// goroutine. Who has waited must read then.
	awaitInput(most time.Duration) bool
	// hush has Read take nothing more from the system, until it is taken back.
	hush(quiet bool)

	// join makes the link known to a poller, and watch says what it is watched for.
	join(p *poller, l *link) error
	watch(p *poller, i interest) error
	// woken is called by the poller when something has happened at a descriptor, before it reads, and looked when it has read.
	woken(p *poller, fd int)
	looked(i interest)
}
