package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sync/errgroup"

	"github.com/orrery-ai/orrery"
)

// readPrompts reads a file with a prompt on each line that is not blank.
func readPrompts(ctx context.Context, path string) (prompts []string, err error) {
	b, err := readInput(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("--prompts: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			if len(prompts) == maxPrompts {
				return nil, fmt.Errorf("--prompts: %s has over %d lines with a prompt: cut it into parts", inputName(path), maxPrompts)
			}
			prompts = append(prompts, line)
		}
	}
	if len(prompts) == 0 {
		return nil, fmt.Errorf("--prompts: %s has no line with a prompt", inputName(path))
	}
	return prompts, nil
}

// answer is what came of one of several prompts.
type answer struct {
	text  string
	stats orrery.Stats
	err   error
	done  chan struct{} // closed when the others are set
}

// answerAll answers several prompts, some at a time, and prints the answers in the order of the prompts. One that fails leaves the others alone.
func (c *generateCmd) answerAll(ctx context.Context, m *orrery.Model, messages, prompts []string) error {
	began := time.Now()
	answers := make([]answer, len(prompts))
	for i := range answers {
		answers[i].done = make(chan struct{})
	}
	var g errgroup.Group
	g.SetLimit(c.sequences())
	go func() {
		for i := range answers {
			g.Go(func() error {
				defer close(answers[i].done)
				answers[i].text, answers[i].stats, answers[i].err = c.answer(ctx, m, prompts[i])
				return nil
			})
		}
	}()
	var failed error
	for i := range answers {
		a := &answers[i]
		<-a.done
		if a.err != nil {
			failed = errors.Join(failed, fmt.Errorf("prompt %d: %w", i+1, a.err))
		}
		var unwritten error
		if c.Format == "json" {
			r := reportOf(a.text, &a.stats, a.err)
			r.Prompt = messages[i]
			unwritten = json.NewEncoder(os.Stdout).Encode(r)
		} else {
			_, unwritten = fmt.Printf("%d: %s\n%s\n\n", i+1, messages[i], strings.TrimRight(a.text, "\n"))
		}
		failed = errors.Join(failed, unwritten)
	}
	if c.Format == "text" {
		fmt.Fprintln(os.Stderr, severalTable(answers, time.Since(began)))
	}
	return failed
}

// answer generates from one prompt, to the end.
func (c *generateCmd) answer(ctx context.Context, m *orrery.Model, prompt string) (string, orrery.Stats, error) {
	g, err := m.Generate(ctx, prompt, c.how())
	if err != nil {
		return "", orrery.Stats{}, err
	}
	var text strings.Builder
	for token, err := range g.Tokens() {
		if err != nil {
			return text.String(), g.Stats(), err
		}
		text.WriteString(token.Text)
	}
	return text.String(), g.Stats(), nil
}

// severalTable shows how fast each answer was, and all of them together.
func severalTable(answers []answer, took time.Duration) string {
	t := newTable("prompt", "tokens read", "first token", "written", "tokens/s")
	rightAligned(t, 5)
	read, written := 0, 0
	for i := range answers {
		s := &answers[i].stats
		read, written = read+s.Read, written+s.Tokens
		t.AppendRow(table.Row{i + 1, s.Read, s.TTFT.Round(time.Millisecond / 10), s.Tokens, fmt.Sprintf("%.1f", s.DecodeRate())})
	}
	t.AppendSeparator()
	t.AppendRow(table.Row{"all", read, "", written, fmt.Sprintf("%.1f", float64(written)/took.Seconds())})
	return t.Render()
}
