package tokenizer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/orrery-ai/orrery/model/gguf"
)

// preTokenizer is one of the ways to cut text into pieces that tokenizer.ggml.pre names.
type preTokenizer struct {
	patterns     []string // applied one after the other; none: that of GPT-2
	compose      bool     // normalise to NFC
	ignoreMerges bool
	bos          bool // begin a prompt with the token of that name, unless the file says otherwise
}

var (
	preLlama3 = preTokenizer{patterns: []string{patternLlama3}, ignoreMerges: true, bos: true}
	preQwen2  = preTokenizer{patterns: []string{patternQwen2}, compose: true}

	// preTokenizers is those that are known. "default" is what llama.cpp does for files that name none.
	preTokenizers = map[string]preTokenizer{
		"llama-bpe": preLlama3, "llama3": preLlama3, "llama-v3": preLlama3,
		"qwen2": preQwen2, "deepseek-r1-qwen": preQwen2,
		"gpt-2": {},
		"default": {patterns: []string{
			`[\p{P}\$\+<=>\^~\|]+`, `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`, `\p{N}+`, `[0-9][0-9][0-9]`,
		}},
		"smollm": {patterns: []string{`\p{N}`, patternGPT2}},
	}
)

// loadBytes loads byte-level BPE, by way of what a tokenizer.json would say.
func (m ggufMetadata) loadBytes(t *Tokenizer, v *ggufVocab) error {
	name, err := ggufGet(m, "pre", "default", gguf.Value.Text)
	if err != nil {
		return err
	}
	pre, ok := preTokenizers[name]
	if !ok {
		return ggufKey("pre", fmt.Errorf("%.40q is unknown; known are %v", name, slices.Sorted(maps.Keys(preTokenizers))))
	}
	list := m.values[ggufPrefix+"merges"]
	lines, err := list.Strings()
	if err != nil {
		return ggufKey("merges", err)
	}
	merges := make(mergeList, list.Len())
	for i, line := range lines {
		if merges[i], err = parseMerge(line); err != nil {
			return ggufKey("merges", fmt.Errorf("%d: %w", i, err))
		}
	}
	f := &tokenizerJSON{AddedTokens: v.added(), Model: &modelSection{Vocab: make(map[string]int32, len(v.tokens)), Merges: &merges}}
	for id, token := range v.tokens {
		switch v.kinds[id] {
		case ggufControl, ggufUser, ggufUnused:
			continue
		}
		if other, twice := f.Model.Vocab[token]; twice {
			return ggufKey("tokens", fmt.Errorf("%.80q is both %d and %d", token, other, id))
		}
		f.Model.Vocab[token] = int32(id)
	}
	t.ignoreMerges, t.compose = pre.ignoreMerges, pre.compose
	no := false
	bytes := &component{Type: "ByteLevel", AddPrefixSpace: &no}
	f.PreTokenizer = &component{Type: "Sequence"}
	for i := range pre.patterns {
		f.PreTokenizer.PreTokenizers = append(f.PreTokenizer.PreTokenizers,
			&component{Type: "Split", Behavior: "Isolated", Pattern: &splitPattern{Regex: &pre.patterns[i]}})
		bytes.UseRegex = &no
	}
	f.PreTokenizer.PreTokenizers = append(f.PreTokenizer.PreTokenizers, bytes)
	for _, step := range []func(*Tokenizer) error{f.loadVocab, f.loadMerges, f.loadAdded, f.loadStages} {
		if err := step(t); err != nil {
			return fmt.Errorf("%s…, read as a tokenizer.json: %w", ggufPrefix, err)
		}
	}
	return m.loadAround(t, pre.bos)
}
