package actors

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/orrery-ai/orrery/kvcache"
)

// logBook is where an actor of a test logs to.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestAKVBlocksLife(t *testing.T) {
	for name, c := range map[string]struct {
		born     kvcache.State
		messages []any
		fails    int    // sends that are refused
		log      string // "" for nothing
	}{
		"grows, is sealed, goes":   {kvcache.Open, []any{seal{}, drop{}}, 0, ""},
		"goes without being full":  {kvcache.Open, []any{drop{}}, 0, ""},
		"arrives, goes":            {kvcache.Sealed, []any{drop{}}, 0, ""},
		"is sealed twice":          {kvcache.Open, []any{seal{}, seal{}, drop{}}, 0, "sealed cannot become sealed"},
		"is sent while it is open": {kvcache.Open, []any{&sendPart{batch: 3, id: 1}, drop{}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(logBook)
			logger := slog.New(slog.NewTextHandler(log, nil))
			system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
				actor.WithDeadLetterThrottleInterval(time.Millisecond))
			defer system.Shutdown()
			gone := make(chan int, 1)
			system.Root.Spawn(actor.PropsFromFunc(func() actor.ReceiveFunc {
				failed := 0
				return func(ctx actor.Context) {
					switch msg := ctx.Message().(type) {
					case *actor.Started:
						block := ctx.Spawn(actor.PropsFromProducer(func() actor.Actor { return &kvBlock{state: c.born, log: logger} }))
						for _, m := range c.messages {
							ctx.Request(block, m)
						}
					case *sendFailed:
						if failed++; msg.batch != 3 || msg.id != 1 || msg.err == nil {
							t.Errorf("%+v", msg)
						}
					case *actor.Terminated:
						ctx.Send(ctx.Self(), "that was all") // after the answers, which come behind
					case string:
						gone <- failed
					}
				}
			}()))
			select {
			case failed := <-gone:
				if failed != c.fails {
					t.Errorf("%d sends failed, want %d", failed, c.fails)
				}
			case <-time.After(patience):
				t.Fatal("a dropped block does not stop")
			}
			if got := log.String(); c.log == "" && got != "" || !strings.Contains(got, c.log) {
				t.Errorf("logged %q, want %q", got, c.log)
			}
		})
	}
}
