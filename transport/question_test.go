package transport

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

func TestAQuestionIsAnsweredOnceOrGivenUp(t *testing.T) {
	system := loneSystem(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q := NewQuestion(system)
	defer q.Close()
	system.Root.Send(q.PID(), "first")
	system.Root.Send(q.PID(), "second")
	if s, err := Answer[string](ctx, q); s != "first" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if s, err := Answer[int](ctx, other(system, "word")); err == nil {
		t.Errorf("a word is the number %d", s)
	}
	if _, err := Answer[string](ctx, other(system, &actor.DeadLetterResponse{})); !errors.Is(err, actor.ErrDeadLetter) {
		t.Errorf("nobody was there, and the error is %v", err)
	}
	over, end := context.WithCancelCause(ctx)
	end(errPatience)
	if _, err := Answer[string](over, NewQuestion(system)); !errors.Is(err, errPatience) {
		t.Errorf("the error is %v", err)
	}
}

func loneSystem(t *testing.T) *actor.ActorSystem {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(time.Millisecond)) // its goroutine sleeps as long
	t.Cleanup(system.Shutdown)
	return system
}

var errPatience = errors.New("no patience")

// other is a question with its answer.
func other(system *actor.ActorSystem, answer any) *Question {
	q := NewQuestion(system)
	defer q.Close()
	system.Root.Send(q.PID(), answer)
	return q
}

func TestAQuestionIsGivenUpWhileItsReplyComes(t *testing.T) {
	system := loneSystem(t)
	for range 100 {
		q := NewQuestion(system)
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		all.Go(cancel)
		all.Go(func() { system.Root.Send(q.PID(), "now") })
		if s, err := Answer[string](ctx, q); (err == nil) != (s == "now") {
			t.Errorf("%q, %v", s, err)
		}
		q.Close()
		all.Wait()
		if _, there := system.ProcessRegistry.GetLocal(q.PID().Id); there {
			t.Fatal("a closed question is still there")
		}
	}
}
