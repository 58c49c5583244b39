package transport

import "github.com/asynkron/protoactor-go/actor"

// Reply waits for a future and gives its result as a T, as [Answer] does for a question.
func Reply[T any](f *actor.Future) (T, error) { return replyAs[T](f.Result()) }
