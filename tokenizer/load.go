package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
)

// tokenizerJSON is the part of tokenizer.json that byte-level BPE needs.
type tokenizerJSON struct {
	AddedTokens   []addedToken  `json:"added_tokens"`
	Normalizer    *component    `json:"normalizer"`
	PreTokenizer  *component    `json:"pre_tokenizer"`
	PostProcessor *component    `json:"post_processor"`
	Decoder       *component    `json:"decoder"`
	Model         *modelSection `json:"model"`
}

type modelSection struct {
	Type                    string     `json:"type"`
	Dropout                 *float64   `json:"dropout"`
	ContinuingSubwordPrefix string     `json:"continuing_subword_prefix"`
	EndOfWordSuffix         string     `json:"end_of_word_suffix"`
	ByteFallback            bool       `json:"byte_fallback"`
	IgnoreMerges            bool       `json:"ignore_merges"`
	Vocab                   vocabulary `json:"vocab"`
	Merges                  *mergeList `json:"merges"`
}

// maxHole is how many ids a vocabulary may leave unused.
const maxHole = 1 << 16

// Load reads a Hugging Face tokenizer.json that holds byte-level BPE. name is the file, for errors, which
// also name the field. What would change ids and is not known here is refused by name.
func Load(data []byte, name string) (*Tokenizer, error) {
	t, err := load(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.file = name
	return t, nil
}

func load(data []byte) (*Tokenizer, error) {
	var f tokenizerJSON
	if err := json.Unmarshal(data, &f); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("byte %d of %d: %w", syntax.Offset, len(data), err)
		}
		return nil, err
	}
	if f.Model == nil {
		return nil, errors.New("model: missing")
	}
	if err := f.Model.check(); err != nil {
		return nil, err
	}
	for field, c := range map[string]*component{"normalizer": f.Normalizer, "pre_tokenizer": f.PreTokenizer, "post_processor": f.PostProcessor} {
		if n := c.size(); n > maxComponents {
			return nil, fmt.Errorf("%s: %d parts, the limit is %d", field, n, maxComponents)
		}
	}
	t := &Tokenizer{ignoreMerges: f.Model.IgnoreMerges}
	t.cache.seed = maphash.MakeSeed()
	t.encoders.New = func() any { return newEncoder(t) }
	steps := []func(*Tokenizer) error{
		f.loadVocab, f.loadMerges, f.loadNormalizer, f.loadAdded, f.loadStages, f.loadTemplate, f.checkDecoder,
	}
	for _, step := range steps {
		if err := step(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// check refuses what is not plain byte-level BPE.
func (m *modelSection) check() error {
	switch {
	case m.Type != "BPE":
		return fmt.Errorf("model.type: %.80q, want \"BPE\"", m.Type)
	case len(m.Vocab) == 0:
		return errors.New("model.vocab: missing or empty")
	case m.Merges == nil:
		return errors.New("model.merges: missing")
	case m.Dropout != nil && *m.Dropout != 0:
		return errors.New("model.dropout: not supported")
	case m.ContinuingSubwordPrefix != "":
		return errors.New("model.continuing_subword_prefix: not supported")
	case m.EndOfWordSuffix != "":
		return errors.New("model.end_of_word_suffix: not supported")
	case m.ByteFallback:
		return errors.New("model.byte_fallback: not byte-level BPE")
	}
	return nil
}

func (f *tokenizerJSON) loadVocab(t *Tokenizer) error {
	size, limit := int32(0), int32(min(len(f.Model.Vocab)+len(f.AddedTokens)+maxHole, 1<<30))
	inRange := func(id int32, token string) error {
		if id < 0 || id >= limit {
			return fmt.Errorf("id %d of %.80q out of range [0, %d)", id, token, limit)
		}
		size = max(size, id+1)
		return nil
	}
	for token, id := range f.Model.Vocab {
		if token == "" {
			return errors.New("model.vocab: empty token")
		}
		if err := inRange(id, token); err != nil {
			return fmt.Errorf("model.vocab: %w", err)
		}
	}
	for i, a := range f.AddedTokens {
		if err := inRange(a.ID, a.Content); err != nil {
			return fmt.Errorf("added_tokens[%d].id: %w", i, err)
		}
	}
	t.ids = f.Model.Vocab
	t.tokens, t.raws, t.special = make([]string, size), make([]string, size), make([]bool, size)
	for token, id := range t.ids {
		if t.tokens[id] != "" {
			return fmt.Errorf("model.vocab: id %d is both %.80q and %.80q", id, min(t.tokens[id], token), max(t.tokens[id], token))
		}
		raw, ok := fromAlphabet(token)
		if !ok {
			raw = token
		}
		t.tokens[id], t.raws[id] = token, raw
	}
	for b, r := range alphabet {
		id, ok := t.ids[string(r)]
		if !ok {
			return fmt.Errorf("model.vocab: no token %.80q for byte %#02x", r, b)
		}
		t.byteID[b] = id
	}
	return nil
}

func (f *tokenizerJSON) loadMerges(t *Tokenizer) error {
	t.merges = make(map[uint64]merge, len(*f.Model.Merges))
	var product []byte
	for rank, m := range *f.Model.Merges {
		product = append(append(product[:0], m[0]...), m[1]...)
		var ids [3]int32
		var ok [3]bool
		ids[0], ok[0] = t.ids[m[0]]
		ids[1], ok[1] = t.ids[m[1]]
		ids[2], ok[2] = t.ids[string(product)]
		for i, known := range ok {
			if !known {
				return fmt.Errorf("model.merges[%d]: %.80q is not in model.vocab", rank, [3]string{m[0], m[1], string(product)}[i])
			}
		}
		t.merges[pairKey(ids[0], ids[1])] = merge{int32(rank), ids[2]}
	}
	return nil
}

func (f *tokenizerJSON) loadAdded(t *Tokenizer) error {
	for i, a := range f.AddedTokens {
		field := fmt.Sprintf("added_tokens[%d]", i)
		if a.Content == "" {
			return fmt.Errorf("%s.content: missing or empty", field)
		}
		if have := t.tokens[a.ID]; have != "" && have != a.Content {
			return fmt.Errorf("%s.id: id %d of %.80q is already %.80q", field, a.ID, a.Content, have)
		}
		if id, ok := t.ids[a.Content]; ok && id != a.ID {
			return fmt.Errorf("%s.id: %.80q is already id %d", field, a.Content, id)
		}
		t.ids[a.Content] = a.ID
		t.tokens[a.ID], t.raws[a.ID] = a.Content, a.Content
		t.special[a.ID] = a.Special
		set, content := &t.verbatim, a.Content
		if a.Normalized {
			set = &t.normalised
			if t.compose {
				content = nfc(content)
			}
		}
		if err := set.add(a, content); err != nil {
			return fmt.Errorf("%s.content: %w", field, err)
		}
	}
	return nil
}
