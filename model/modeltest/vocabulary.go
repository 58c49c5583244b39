package modeltest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// The kinds of tokens in the metadata of a GGUF file.
const (
	normalToken  = 1
	controlToken = 3
	userToken    = 4
	unusedToken  = 5
)

// Vocabulary is a tokenizer.json of byte-level BPE as converters write it into a GGUF file. pre is the name of its
// pre-tokenizer, and the first and the last token those of its added tokens that are called bos and eos.
func Vocabulary(file, pre, bos, eos string) ([]GGUFPair, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var f struct {
		Added []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int
			Merges []json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	size := 0
	for _, id := range f.Model.Vocab {
		size = max(size, id+1)
	}
	for _, a := range f.Added {
		size = max(size, a.ID+1)
	}
	tokens, kinds := make([]string, size), slices.Repeat([]int32{unusedToken}, size)
	for token, id := range f.Model.Vocab {
		tokens[id], kinds[id] = token, normalToken
	}
	pairs := []GGUFPair{{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: pre}}
	for _, a := range f.Added {
		tokens[a.ID], kinds[a.ID] = a.Content, userToken
		if a.Special {
			kinds[a.ID] = controlToken
		}
		if a.Content == bos {
			pairs = append(pairs, GGUFPair{Key: "tokenizer.ggml.bos_token_id", Value: uint32(a.ID)})
		}
		if a.Content == eos {
			pairs = append(pairs, GGUFPair{Key: "tokenizer.ggml.eot_token_id", Value: uint32(a.ID)})
		}
	}
	merges := make([]string, len(f.Model.Merges))
	for i, m := range f.Model.Merges {
		var two [2]string
		if json.Unmarshal(m, &merges[i]) == nil {
			continue
		}
		if err := json.Unmarshal(m, &two); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		merges[i] = two[0] + " " + two[1]
	}
	return append(pairs, GGUFPair{Key: "tokenizer.ggml.tokens", Value: tokens}, GGUFPair{Key: "tokenizer.ggml.token_type", Value: kinds},
		GGUFPair{Key: "tokenizer.ggml.merges", Value: merges}), nil
}
