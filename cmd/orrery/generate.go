package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/sampling"
	"github.com/orrery-ai/orrery/tokenizer"
)

type generateCmd struct {
	modelFlags   `embed:"" group:"Model:"`
	clusterFlags `embed:"" group:"Where to compute:"`
	KV           kvFlag        `name:"kv" help:"Storage of keys and values: f16, q8, q4 or f32." default:"f16" group:"Model:"`
	Prompt       string        `help:"The prompt, or with --prompt-file what comes after the file's text." placeholder:"TEXT"`
	PromptFile   string        `help:"File with the prompt, - for standard input." placeholder:"FILE"`
	Prompts      string        `help:"File with a prompt on each line, - for standard input. All are answered, --sequences at a time; before each stands the text of --prompt-file." placeholder:"FILE"`
	Sequences    sequencesFlag `help:"Prompts of --prompts that are answered at the same time (default: 8). Steps compute the next tokens of up to eight together." placeholder:"N"`
	Chat         bool          `help:"Put the prompt into the model's chat template, as a user's message. With both --prompt-file and --prompt, the file's text stands before it."`
	MaxTokens    countFlag     `help:"Tokens to generate at the most." default:"256"`
	Temp         float32       `name:"temperature" help:"0 chooses the likeliest token." default:"0"`
	TopK         int           `help:"Choose among the K likeliest tokens; 0: all." placeholder:"K"`
	TopP         float32       `help:"Choose among the likeliest tokens that make up this probability; 0 or 1: all." placeholder:"P"`
	MinP         float32       `help:"Leave out tokens of less than this part of the likeliest one's probability." placeholder:"P"`
	Seed         uint64        `help:"Of the random choice." placeholder:"N"`
	IgnoreEOS    bool          `name:"ignore-eos" help:"Go on after an end-of-text token."`
	SwitchAt     switchFlag    `help:"Switch modes while generating." placeholder:"TOKEN:MODE,…"`
	Format       string        `help:"text streams the answer; json prints one object at the end." enum:"text,json" default:"text"`
}

// Help is shown below the flags' summary.
func (generateCmd) Help() string {
	return `Examples:
  orrery generate --model ~/models/Qwen3-0.6B --chat \
    --prompt 'Why is the sky dark at night?'
  orrery generate --nodes 3 --mode pooled --chat --prompt-file notes.txt \
    --prompt 'What is the secret code of the amber falcon?'
  orrery generate --join 192.168.1.10:7946 --model /models/llama \
    --prompt 'Once' --switch-at 64:pooled,128:ring
  orrery generate --nodes 2 --mode auto --chat --prompt-file notes.txt \
    --prompt 'Sum this up.' --max-tokens 4096
  orrery generate --model ~/models/Qwen3-0.6B --chat --prompts questions.txt \
    --sequences 4 --format json

The answer goes to standard output, everything else to standard error.`
}

// Validate looks at the flags together.
func (c *generateCmd) Validate() error {
	switch {
	case c.Prompt == "" && c.PromptFile == "" && c.Prompts == "":
		return errors.New("there is no prompt: give --prompt or --prompt-file, or --prompts for several")
	case c.Prompt != "" && c.Prompts != "":
		return errors.New("--prompt and --prompts: give one of them")
	case c.PromptFile == "-" && c.Prompts == "-":
		return errors.New("--prompt-file - and --prompts -: only one of them can be standard input")
	case c.Sequences > 0 && c.Prompts == "":
		return errors.New("--sequences is of --prompts: one prompt is one sequence; give a file with a prompt on each line")
	}
	if orrery.Mode(c.Mode) == orrery.Auto && len(c.SwitchAt) > 0 {
		return errors.New("--mode auto chooses when to switch: leave out --switch-at, or name a mode to begin in")
	}
	if n := len(c.SwitchAt); n > 0 && c.SwitchAt[n-1].Token >= int(c.MaxTokens) {
		return fmt.Errorf("--switch-at %d:%v: the answer ends before, with --max-tokens %d", c.SwitchAt[n-1].Token, c.SwitchAt[n-1].Mode, c.MaxTokens)
	}
	return cmp.Or(c.sampling().Validate(), c.check(), c.checkConnections())
}

// AfterApply looks at the files that the flags name.
func (c *generateCmd) AfterApply() error {
	return cmp.Or(c.Model.find(), c.TLS.load(), canRead("--prompt-file", c.PromptFile), canRead("--prompts", c.Prompts))
}

// sequences is how many prompts are answered at the same time.
func (c *generateCmd) sequences() int { return int(cmp.Or(c.Sequences, 8)) }

func (c *generateCmd) sampling() sampling.Params {
	return sampling.Params{Temperature: c.Temp, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP, Seed: c.Seed}
}

// Run generates.
func (c *generateCmd) Run(ctx context.Context, log *slog.Logger) error {
	plain, messages, err := c.messages(ctx)
	if err != nil {
		return err
	}
	cluster, end, err := c.open(ctx, log)
	if err != nil {
		return err
	}
	defer end()
	options := c.options(c.KV, 0)
	options.Sequences = min(c.sequences(), len(messages))
	if c.Context == 0 {
		options.ContextFor = c.need(plain, messages)
	}
	var loaded func()
	options.Progress, loaded = showLoading()
	m, err := cluster.Load(ctx, c.Model.ref, options)
	loaded()
	if err != nil {
		return err
	}
	prompts := make([]string, len(messages))
	for i, message := range messages {
		if c.Chat {
			if message, err = m.RenderChat([]tokenizer.Message{{Role: "user", Content: message}}); err != nil {
				return err
			}
		}
		prompts[i] = plain + message
	}
	if c.Prompts != "" {
		return c.answerAll(ctx, m, messages, prompts)
	}
	o := c.how()
	o.Progress = prefillProgress("prefill")
	g, err := m.Generate(ctx, prompts[0], o)
	if err != nil {
		return err
	}
	return c.stream(g)
}

// how is how to go on from a prompt.
func (c *generateCmd) how() orrery.GenerateOptions {
	return orrery.GenerateOptions{MaxTokens: int(c.MaxTokens), IgnoreEOS: c.IgnoreEOS, SwitchAt: c.SwitchAt, Sampling: c.sampling()}
}

// messages is the text that stands before all of them as it is, and the messages: one, or those of --prompts.
func (c *generateCmd) messages(ctx context.Context) (plain string, messages []string, err error) {
	if c.Prompts == "" {
		plain, message, err := c.prompt(ctx)
		return plain, []string{message}, err
	}
	if c.PromptFile != "" {
		if _, plain, err = c.prompt(ctx); err != nil {
			return "", nil, err
		}
	}
	messages, err = readPrompts(ctx, c.Prompts)
	return plain, messages, err
}

// prompt is the text that stands as it is, and the message.
func (c *generateCmd) prompt(ctx context.Context) (plain, message string, err error) {
	if c.PromptFile == "" {
		return "", c.Prompt, nil
	}
	b, err := readInput(ctx, c.PromptFile)
	if err != nil {
		return "", "", fmt.Errorf("--prompt-file: %w", err)
	}
	if len(b) == 0 {
		return "", "", fmt.Errorf("--prompt-file: %s is empty", inputName(c.PromptFile))
	}
	if c.Prompt == "" {
		return "", string(b), nil
	}
	return string(b), c.Prompt, nil
}

// templateTokens is room for what a chat template adds.
const templateTokens = 1024

// need says which context the longest prompt and its answer fit in.
func (c *generateCmd) need(plain string, messages []string) func(t *tokenizer.Tokenizer, most int) (int, error) {
	return func(t *tokenizer.Tokenizer, most int) (int, error) {
		n := 0
		for _, message := range messages {
			ids, err := t.EncodePrompt(plain+message, true)
			if err != nil {
				return 0, err
			}
			n = max(n, len(ids))
		}
		if n >= most {
			return 0, fmt.Errorf("the prompt has %d tokens, and the model was made for %d: shorten the prompt", n, most)
		}
		n += int(c.MaxTokens)
		if c.Chat {
			n += templateTokens
		}
		return min(n, most), nil
	}
}

// stream prints the answer as it comes, and then how fast it was.
func (c *generateCmd) stream(g *orrery.Generation) error {
	var text strings.Builder
	var failed error
	for token, err := range g.Tokens() {
		if err != nil {
			failed = err
			break
		}
		text.WriteString(token.Text)
		if c.Format == "text" {
			if _, failed = fmt.Print(token.Text); failed != nil {
				break
			}
		}
	}
	s := g.Stats()
	if s.Tokens == 0 {
		s.Prefill = 0 // the prompt was not read to its end: there is no speed to tell
	}
	if c.Format == "json" {
		return errors.Join(failed, json.NewEncoder(os.Stdout).Encode(reportOf(text.String(), &s, failed)))
	}
	if s.Tokens > 0 || failed == nil {
		fmt.Println()
	}
	if s.Tokens > 0 {
		fmt.Fprintf(os.Stderr, "\n%s read%s, first token after %v, %s written%s\n", counted(s.Prompt, "token"), speed("%.0f", s.PrefillRate(), s.Prefill),
			s.TTFT.Round(time.Millisecond/10), counted(s.Tokens, "token"), speed("%.1f", s.DecodeRate(), s.Decode))
	}
	if finish(&s, failed) == "length" && s.Tokens < int(c.MaxTokens) {
		fmt.Fprintln(os.Stderr, "the context is full: --context allows for more")
	}
	if len(s.Choices) > 0 {
		fmt.Fprintln(os.Stderr, choiceTable(choiceReports(s.Choices)))
	}
	for _, r := range s.Switches {
		fmt.Fprintln(os.Stderr, describeSwitch(r))
	}
	return failed
}

// speed says how many a second, unless that went on for too short a time to tell.
func speed(format string, rate float64, over time.Duration) string {
	if over < 10*time.Millisecond {
		return ""
	}
	return fmt.Sprintf(" at "+format+"/s", rate)
}

// generateReport is what --format json prints, on a line for each of --prompts.
type generateReport struct {
	Prompt       string         `json:"prompt,omitempty"` // of --prompts
	Text         string         `json:"text"`
	PromptTokens int            `json:"prompt_tokens"`
	Tokens       int            `json:"tokens"`
	Finish       string         `json:"finish_reason,omitempty"` // stop or length, as others call it; none of an answer that failed
	TTFTSeconds  float64        `json:"ttft_seconds"`
	PrefillRate  float64        `json:"prefill_tokens_per_second"`
	DecodeRate   float64        `json:"decode_tokens_per_second"`
	Switches     []switchReport `json:"switches,omitempty"`
	Auto         []choiceReport `json:"auto,omitempty"`
	Error        string         `json:"error,omitempty"`
}

func reportOf(text string, s *orrery.Stats, failed error) generateReport {
	return generateReport{Text: text, PromptTokens: s.Prompt, Tokens: s.Tokens, Finish: finish(s, failed), TTFTSeconds: s.TTFT.Seconds(), PrefillRate: s.PrefillRate(), DecodeRate: s.DecodeRate(),
		Switches: switchReports(s.Switches), Auto: choiceReports(s.Choices), Error: errorText(failed)}
}

// finish is why an answer ended: at a token that ends it, or for want of room.
func finish(s *orrery.Stats, failed error) string {
	switch {
	case failed != nil:
		return ""
	case s.Stopped:
		return "stop"
	}
	return "length"
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
