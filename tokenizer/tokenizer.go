package tokenizer

import "sync"

// A Tokenizer is a loaded vocabulary. It does not change, and any number of goroutines may use it.
type Tokenizer struct {
	file    string   // that it was read from
	tokens  []string // id → vocabulary form; "" where an id is not used
	raws    []string // id → the bytes it stands for
	special []bool   // id → controls the model
	ids     map[string]int32

	byteID       [256]int32       // the token of each single byte
	characters   bool             // merging begins with characters, where they have tokens, not with bytes
	leadingSpace bool             // text is encoded with a space before it, which decoding takes away
	merges       map[uint64]merge // by pairKey
	ignoreMerges bool             // a word that is in the vocabulary is one token, merges or not

	compose        bool     // normalise to NFC
	verbatim       addedSet // added tokens sought in the text as it came
	normalised     addedSet // added tokens sought in the normalised text
	stages         []stage
	prologue, coda []int32 // what EncodePrompt puts around a prompt
	cache          wordCache
	encoders       sync.Pool // of *encoder
}

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.tokens) }

// ID is the id of a token in the form the vocabulary has it: "<|im_end|>", "Ġthe".
func (t *Tokenizer) ID(token string) (id int32, ok bool) {
	id, ok = t.ids[token]
	return id, ok
}

// Token is the token of an id in the form the vocabulary has it, or "" for an id that it does not use.
func (t *Tokenizer) Token(id int32) string {
	if !t.has(id) {
		return ""
	}
	return t.tokens[id]
}

// IsSpecial says whether id controls the model rather than standing for text: the end of a turn, say.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.has(id) && t.special[id] }

func (t *Tokenizer) has(id int32) bool { return id >= 0 && int(id) < len(t.tokens) }

// raw is the bytes that id stands for.
func (t *Tokenizer) raw(id int32) string {
	if !t.has(id) {
		return ""
	}
	return t.raws[id]
}
