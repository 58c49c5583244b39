package transport

import (
	"errors"
	"fmt"
	"io"
)

// ErrClosed is the cause of every failure that came from closing a lane or the endpoint on this node.
var ErrClosed = errors.New("transport: closed")

// ErrProtocol is in the chain of errors about a peer that sent what the protocol does not allow. Such
// a peer loses the connection.
var ErrProtocol = errors.New("protocol error")

// ErrPeerLost says that the connection to a peer, or the peer itself, is gone.
type ErrPeerLost struct {
	Node  string  // the peer
	Lane  LaneKey // the lane on which it was noticed; zero if on none
	Seq   uint64  // the message of that lane that was being sent or awaited
	Cause error
}

// Error names the peer and what the lane is for.
func (e *ErrPeerLost) Error() string {
	return fmt.Sprintf("transport: lost peer %s%s: %v", e.Node, where(e.Lane), e.Cause)
}

// Unwrap is the cause.
func (e *ErrPeerLost) Unwrap() error { return e.Cause }

// ErrTimeout says that a deadline passed. The lane is of no use afterwards.
type ErrTimeout struct {
	Node string // the peer that was waited for
	Lane LaneKey
	Seq  uint64
}

// Error names the peer and what the lane is for.
func (e *ErrTimeout) Error() string {
	return fmt.Sprintf("transport: timeout waiting for peer %s%s", e.Node, where(e.Lane))
}

// Timeout makes it a timeout for those who test for net.Error's method.
func (e *ErrTimeout) Timeout() bool { return true }

// ErrRefused says that a peer, or this node on meeting it, turned the connection down: another version
// of the protocol, another cluster, another node than expected, or a certificate that is not good.
type ErrRefused struct {
	Peer   string
	Reason string
}

// Error names the peer and its reason.
func (e *ErrRefused) Error() string {
	return fmt.Sprintf("transport: connection with peer %s refused: %s", e.Peer, e.Reason)
}

// ErrNoReceiver says that a peer does not receive on a lane: nobody registered for it, what was
// registered does not fit, or its receiver was closed. The connection and its other lanes are well.
type ErrNoReceiver struct {
	Node   string
	Lane   LaneKey
	Reason string
}

// Error names the peer and what the lane is for.
func (e *ErrNoReceiver) Error() string {
	return fmt.Sprintf("transport: peer %s does not receive%s: %s", e.Node, where(e.Lane), e.Reason)
}

// where is for people, to whom numbers of loadings and of messages say nothing: they are in the error's fields.
func where(k LaneKey) string {
	if k == (LaneKey{}) {
		return ""
	}
	return fmt.Sprintf(" on lane %s", k.Purpose)
}

// Causes that callers see as something else, or only as text.
var (
	errFinished = errors.New("the sender closed the lane") // io.EOF to the receiver's consumer
	errSilent   = errors.New("the peer does not answer on the connection any more")
	errHangup   = fmt.Errorf("the peer closed the connection: %w", io.EOF)
)

// laneError is the error of one call on a lane that failed for the given cause.
func laneError(cause error, node string, key LaneKey, seq uint64) error {
	switch c := cause.(type) {
	case *ErrTimeout, *ErrNoReceiver:
		return cause
	case *ErrPeerLost:
		cause = c.Cause
	}
	if cause == errFinished {
		return io.EOF
	}
	if cause == ErrClosed {
		return fmt.Errorf("lane %s with peer %s: %w", key.Purpose, node, ErrClosed)
	}
	return &ErrPeerLost{Node: node, Lane: key, Seq: seq, Cause: cause}
}

func protocolError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}
