package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/orrery-ai/orrery/internal/lograte"
)

// bridge is the writer behind memberlist's logger. Each line begins with its level in brackets. Whoever
// can reach the port can cause warnings, so only so many are written in a time; the others are counted.
type bridge struct {
	log   *slog.Logger
	warns lograte.Limit
}

const (
	warnPeriod = 10 * time.Second
	maxWarns   = 5 // in a period
)

func newBridge(l *slog.Logger) *log.Logger { return log.New(&bridge{log: l}, "", 0) }

// toldOtherwise begins the warnings and errors of memberlist that this package logs itself, in one
// line, or reports as events; they are kept for debugging only.
var toldOtherwise = [][]byte{
	[]byte("ignoring alive message"),
	[]byte("Failed push/pull merge"),
	[]byte("Conflicting address"),
	[]byte("Push/Pull with"),
	[]byte("Failed fallback TCP ping"),
	[]byte("Failed to send"),
	[]byte("Refuting"),
	[]byte("Was able to connect to"), // over TCP, while a busy machine lost a ping
}

func (b *bridge) Write(line []byte) (int, error) {
	msg := bytes.TrimSpace(line)
	level := slog.LevelDebug
	if tag, rest, ok := bytes.Cut(msg, []byte("] ")); ok && len(tag) > 0 && tag[0] == '[' {
		msg = bytes.TrimPrefix(rest, []byte("memberlist: "))
		switch string(tag) {
		case "[WARN", "[ERR", "[ERROR":
			level = slog.LevelWarn
		}
	}
	for _, k := range keyTexts {
		if bytes.Contains(bytes.ToLower(msg), []byte(k.text)) {
			_, from, _ := bytes.Cut(msg, []byte("from="))
			msg = fmt.Appendf(nil, "peer refused: %v: %s from=%s", ErrKey, k.toSeed, from)
		}
	}
	for _, p := range toldOtherwise {
		if bytes.HasPrefix(msg, p) {
			level = slog.LevelDebug
		}
	}
	ctx := context.Background()
	if !b.log.Enabled(ctx, level) {
		return len(line), nil
	}
	if level < slog.LevelWarn {
		b.log.Log(ctx, level, "gossip: "+string(msg))
	} else if ok, dropped := b.warns.Allow(time.Now(), warnPeriod, maxWarns); ok {
		b.log.Log(ctx, level, "gossip: "+string(msg), "not_said_before", dropped)
	}
	return len(line), nil
}

// onceLog says each thing once a minute at most: a peer that is refused keeps gossiping.
type onceLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time
}

const (
	sayAgain   = time.Minute
	maxSayings = 256
)

func (l *onceLog) warn(what string, err error) {
	key, now := what+err.Error(), time.Now()
	l.mu.Lock()
	at, seen := l.said[key]
	fresh := !seen || now.Sub(at) >= sayAgain
	if fresh {
		if len(l.said) >= maxSayings {
			clear(l.said)
		}
		l.said[key] = now
	}
	l.mu.Unlock()
	if fresh {
		l.log.Warn(what, "reason", err.Error())
	}
}
