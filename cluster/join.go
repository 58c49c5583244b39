package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	joinAttempts = 8
	joinPause    = 100 * time.Millisecond // after the first attempt; then doubled
	joinPauseMax = time.Second
)

// SeedError is why one seed did not let the node in.
type SeedError struct {
	Seed string
	Err  error
}

// Error names the seed and the reason.
func (e *SeedError) Error() string { return fmt.Sprintf("seed %s: %v", e.Seed, e.Err) }

// Unwrap gives the reason.
func (e *SeedError) Unwrap() error { return e.Err }

// Join meets the cluster through seeds, host:port each, and returns once one of them has let this
// node in; seeds that did not are then logged. A seed that does not answer, or that holds this
// node's name for taken, is tried 8 times, with 4.5 s of pauses in all and a second at most for each
// try; one that refuses for another reason is not tried again. When no seed is left, the error is a
// *JoinError. Seeds that are this node itself are passed over, and with no
// other there is nothing to join and no error: so every node can be given the same list.
func (m *Membership) Join(ctx context.Context, seeds []string) error {
	var left []string
	for _, s := range seeds {
		if s != m.addr {
			left = append(left, s)
		}
	}
	if len(left) == 0 {
		return nil
	}
	failed := map[string]error{}
	pause := joinPause
	for attempt := 1; ; attempt++ {
		again := false
		joined := 0
		for _, s := range left {
			if err := failed[s]; permanent(err) {
				continue
			}
			err := m.joinSeed(ctx, s)
			if err == nil {
				joined++
				delete(failed, s)
				continue
			}
			failed[s] = err
			again = again || !permanent(err)
		}
		if joined > 0 {
			for s, err := range failed {
				m.log.Warn("seed not joined", "seed", s, "reason", err.Error())
			}
			return nil
		}
		if !again || attempt == joinAttempts {
			return joinError(left, failed)
		}
		select {
		case <-time.After(pause):
		case <-m.done:
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), joinError(left, failed))
		}
		pause = min(2*pause, joinPauseMax)
	}
}

// JoinError is why none of the seeds let the node in.
type JoinError struct{ Seeds []*SeedError }

// Error gives every seed's reason in one line.
func (e *JoinError) Error() string {
	reasons := make([]string, len(e.Seeds))
	for i, s := range e.Seeds {
		reasons[i] = s.Error()
	}
	return "cluster: cannot join: " + strings.Join(reasons, "; ")
}

// Unwrap gives the seeds' errors.
func (e *JoinError) Unwrap() []error {
	errs := make([]error, len(e.Seeds))
	for i, s := range e.Seeds {
		errs[i] = s
	}
	return errs
}

func joinError(seeds []string, failed map[string]error) error {
	e := &JoinError{}
	for _, s := range seeds {
		e.Seeds = append(e.Seeds, &SeedError{s, failed[s]})
	}
	return e
}

// joinSeed exchanges states with one seed. Names are resolved here because memberlist would do it
// without a deadline.
func (m *Membership) joinSeed(ctx context.Context, seed string) error {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		return errBadSeed{err}
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return errBadSeed{fmt.Errorf("port %q is not a number in 1..65535", port)}
	}
	within, cancel := context.WithTimeout(ctx, resolveWithin)
	addrs, err := net.DefaultResolver.LookupNetIP(within, "ip", host)
	cancel()
	if err != nil {
		return err
	}
	err = fmt.Errorf("host %q has no address", host)
	for _, a := range addrs {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case <-m.done:
			return errClosed
		default:
		}
		addr := net.JoinHostPort(a.Unmap().String(), port)
		if _, err = m.list.Join([]string{addr}); err == nil {
			return nil
		}
		err = joinReason(addr, err)
	}
	return err
}

// errBadSeed is a seed that cannot be an address.
type errBadSeed struct{ error }

func permanent(err error) bool {
	var bad errBadSeed
	return errors.Is(err, ErrCluster) || errors.Is(err, ErrProtocol) || errors.Is(err, ErrKey) || errors.As(err, &bad)
}

// keyTexts are what memberlist says when keys differ, on both sides: a side that cannot read the other
// answers in its own terms, which the first cannot read either.
var keyTexts = []struct{ text, toJoiner, toSeed string }{
	{"no installed keys could decrypt", "the seed has another key", "it has another key"},
	{"remote state is encrypted and encryption is not", "the seed has a key and this node has none", "it has a key and this node has none"},
	{"encryption is configured but remote state is not", "this node has a key and the seed has none", "it has none"},
}

// joinReason gives memberlist's error, which is only text, its type back.
func joinReason(addr string, err error) error {
	if inner := errors.Unwrap(err); inner != nil { // a list of one
		err = inner
	}
	text := strings.TrimPrefix(err.Error(), "failed to join "+addr+": ")
	for _, e := range []error{ErrCluster, ErrProtocol, ErrNameTaken} {
		if strings.Contains(text, e.Error()) {
			return typed{text, e}
		}
	}
	for _, k := range keyTexts {
		if strings.Contains(strings.ToLower(text), k.text) {
			return fmt.Errorf("%w: %s", ErrKey, k.toJoiner)
		}
	}
	return errors.New(text)
}

// typed is an error of the given text that wraps kind.
type typed struct {
	text string
	kind error
}

func (e typed) Error() string { return e.text }
func (e typed) Unwrap() error { return e.kind }
