package tokenizer

import (
	"fmt"
	"hash/maphash"
	"io/fs"
	"slices"

	"github.com/orrery-ai/orrery/model/gguf"
)

// The kinds of tokens that the metadata of a GGUF file tell apart.
const (
	ggufNormal  = 1
	ggufControl = 3
	ggufUser    = 4 // sought in the text itself, as control tokens are, but stands for text
	ggufUnused  = 5
	ggufByte    = 6
)

// maxGGUFTokens bounds a vocabulary; the largest published have a quarter of a million.
const maxGGUFTokens = 1 << 22

// LoadGGUF reads the tokenizer of a GGUF file: byte-level BPE ("gpt2"), or the BPE of SentencePiece ("llama").
// name is the file, for errors, which also name the key. A file without a tokenizer gives an error that is
// fs.ErrNotExist.
func LoadGGUF(metadata map[string]gguf.Value, name string) (*Tokenizer, error) {
	m := ggufMetadata{metadata}
	t, err := m.load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.file = name
	return t, nil
}

// ggufMetadata reads the keys tokenizer.ggml.….
type ggufMetadata struct{ values map[string]gguf.Value }

const ggufPrefix = "tokenizer.ggml."

// ggufKey names a key in an error.
func ggufKey(key string, err error) error { return fmt.Errorf("key %.80q: %w", ggufPrefix+key, err) }

// ggufGet is a value as read reads it, or missing if there is none.
func ggufGet[T any](m ggufMetadata, key string, missing T, read func(gguf.Value) (T, error)) (T, error) {
	v, ok := m.values[ggufPrefix+key]
	if !ok {
		return missing, nil
	}
	x, err := read(v)
	if err != nil {
		return missing, ggufKey(key, err)
	}
	return x, nil
}

// noTokenizer is an error that is fs.ErrNotExist.
type noTokenizer struct{}

func (noTokenizer) Error() string {
	return "the file has no tokenizer: key " + ggufPrefix + "model is missing, or says so"
}
func (noTokenizer) Is(target error) bool { return target == fs.ErrNotExist }

// ggufVocab is the tokens in the order of their ids, with what kind each is.
type ggufVocab struct {
	tokens []string
	kinds  []int64
}

func (m ggufMetadata) load() (*Tokenizer, error) {
	kind, err := ggufGet(m, "model", "", gguf.Value.Text)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{ids: map[string]int32{}}
	t.cache.seed = maphash.MakeSeed()
	t.encoders.New = func() any { return newEncoder(t) }
	steps := map[string]func(*Tokenizer, *ggufVocab) error{"gpt2": m.loadBytes, "llama": m.loadPieces}
	load, ok := steps[kind]
	switch {
	case kind == "", kind == "none", kind == "no_vocab":
		return nil, noTokenizer{}
	case !ok:
		return nil, ggufKey("model", fmt.Errorf("%.40q is unknown; known are gpt2 and llama", kind))
	}
	v, err := m.vocab()
	if err != nil {
		return nil, err
	}
	if err := load(t, v); err != nil {
		return nil, err
	}
	return t, nil
}

// vocab reads the tokens and their kinds.
func (m ggufMetadata) vocab() (*ggufVocab, error) {
	list := m.values[ggufPrefix+"tokens"]
	tokens, err := list.Strings()
	if err != nil {
		return nil, ggufKey("tokens", err)
	}
	if n := list.Len(); n == 0 || n > maxGGUFTokens {
		return nil, ggufKey("tokens", fmt.Errorf("%d tokens, not between 1 and %d", n, maxGGUFTokens))
	}
	v := &ggufVocab{tokens: make([]string, 0, list.Len()), kinds: slices.Repeat([]int64{ggufNormal}, list.Len())}
	for _, token := range tokens {
		v.tokens = append(v.tokens, token)
	}
	kinds, ok := m.values[ggufPrefix+"token_type"]
	if !ok {
		return v, nil
	}
	each, err := kinds.Ints()
	if err == nil && kinds.Len() != len(v.tokens) {
		err = fmt.Errorf("%d of them for %d tokens", kinds.Len(), len(v.tokens))
	}
	if err != nil {
		return nil, ggufKey("token_type", err)
	}
	for i, k := range each {
		v.kinds[i] = k
	}
	return v, nil
}

// added is the tokens that are sought in the text itself.
func (v *ggufVocab) added() (list []addedToken) {
	for id, kind := range v.kinds {
		if kind == ggufControl || kind == ggufUser {
			list = append(list, addedToken{ID: int32(id), Content: v.tokens[id], Special: kind == ggufControl})
		}
	}
	return list
}

// loadAround takes what EncodePrompt puts around a prompt. bos is whether there is a first token if the file does
// not say.
func (m ggufMetadata) loadAround(t *Tokenizer, bos bool) error {
	for _, end := range []struct {
		flag, id string
		missing  bool
		to       *[]int32
	}{{"add_bos_token", "bos_token_id", bos, &t.prologue}, {"add_eos_token", "eos_token_id", false, &t.coda}} {
		add, err := ggufGet(m, end.flag, end.missing, gguf.Value.Bool)
		if err != nil {
			return err
		}
		id, err := m.token(end.id)
		if err != nil {
			return err
		}
		if add && id >= 0 {
			if t.Token(id) == "" {
				return ggufKey(end.id, fmt.Errorf("no token has id %d", id))
			}
			*end.to = []int32{id}
		}
	}
	return nil
}

// token is the id of a key, or -1 if there is none.
func (m ggufMetadata) token(key string) (int32, error) {
	id, err := ggufGet(m, key, -1, gguf.Value.Int)
	if err == nil && id >= maxGGUFTokens {
		err = ggufKey(key, fmt.Errorf("%d is no token", id))
	}
	return int32(id), err
}
