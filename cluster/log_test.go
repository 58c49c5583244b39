package cluster

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAStrangerCannotFloodTheLog(t *testing.T) {
	var out bytes.Buffer
	b := &bridge{log: slog.New(slog.NewTextHandler(&out, nil))}
	for i := range 1000 {
		fmt.Fprintf(b, "[WARN] memberlist: garbage %d\n", i)
	}
	if n := strings.Count(out.String(), "\n"); n != maxWarns {
		t.Errorf("1000 warnings made %d lines, want %d", n, maxWarns)
	}
	ok, dropped := b.warns.Allow(time.Now().Add(2*warnPeriod), warnPeriod, maxWarns)
	if !ok || dropped != 1000-maxWarns {
		t.Errorf("a period later: written %v, %d counted as not written", ok, dropped)
	}
}
