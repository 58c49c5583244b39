package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestSeveralPromptsHaveTheAnswersOfEachAlone(t *testing.T) {
	path, code := document(t, 600)
	prompts := []string{code.FirstTurn(), "Once upon a time", "falcon", "The secret code of the", "Who?"}
	for i, p := range prompts {
		prompts[i] = strings.ReplaceAll(p, "\n", " ")
	}
	lines := filepath.Join(t.TempDir(), "prompts.txt")
	write(t, lines, []byte("\n"+strings.Join(prompts, "\r\n\n")))
	args := []string{"--prompt-file", path, "--max-tokens", "12", "--ignore-eos", "--nodes", "2"}
	var want []string
	for _, p := range prompts[:2] {
		want = append(want, generate(t, append(args, "--prompt", p)...).Text)
	}
	all := append([]string{"generate", "--prompts", lines, "--sequences", "4"}, args...)
	stdout, stderr, status := run(t, longWithin, append(all, "--format", "json")...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	decoder := json.NewDecoder(strings.NewReader(stdout))
	for i, p := range prompts {
		var r generateReport
		if err := decoder.Decode(&r); err != nil {
			t.Fatalf("answer %d: %v in %q", i, err, stdout)
		}
		if r.Prompt != p || r.Tokens != 12 || r.Error != "" || i < len(want) && r.Text != want[i] {
			t.Errorf("answer %d is %+v, to %q, alone %q", i, r, p, want)
		}
	}
	stdout, stderr, status = run(t, longWithin, all...)
	if status != 0 || !strings.Contains(stdout, "2: Once upon a time\n"+strings.TrimRight(want[1], "\n")) || !strings.Contains(stderr, "all") {
		t.Errorf("status %d: %q, %q", status, stdout, stderr)
	}
}

// A prompt that is too long has its error, and the others their answers.
func TestOneOfSeveralPromptsThatFailsLeavesTheOthersAlone(t *testing.T) {
	lines := filepath.Join(t.TempDir(), "prompts.txt")
	write(t, lines, []byte("Once\n"+strings.Repeat("word ", 100)+"\nTwice\n"))
	stdout, stderr, status := run(t, longWithin, "generate", "--prompts", lines, "--context", "64", "--max-tokens", "4", "--ignore-eos", "--format", "json")
	if status != statusFailed || !strings.Contains(stderr, "prompt 2: ") || !strings.Contains(stderr, "context of 64") {
		t.Errorf("status %d: %s", status, stderr)
	}
	decoder := json.NewDecoder(strings.NewReader(stdout))
	for i, tokens := range []int{4, 0, 4} {
		var r generateReport
		if err := decoder.Decode(&r); err != nil || r.Tokens != tokens || (r.Error == "") != (tokens > 0) {
			t.Errorf("answer %d: %+v, %v", i, r, err)
		}
	}
}
