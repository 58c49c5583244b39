package orrery

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Whoever asks for something of a model that is being loaded, as after the loss of a node, can give up.
func TestNobodyHasToWaitForALoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Start(ctx, Config{NoCalibration: true, Bandwidth: 1e10})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m, err := c.Load(ctx, "recall", LoadOptions{Context: 256})
	if err != nil {
		t.Fatal(err)
	}
	m.loading <- struct{}{} // somebody loads
	gone := errors.New("gone")
	impatient, leave := context.WithCancelCause(ctx)
	leave(gone)
	if _, err := m.Generate(impatient, "a", GenerateOptions{MaxTokens: 1}); !errors.Is(err, gone) {
		t.Errorf("who gave up was told %v", err)
	}
	<-m.loading
	if _, err := m.NewSession(ctx, SessionOptions{}); err != nil {
		t.Errorf("after the load: %v", err)
	}
}
