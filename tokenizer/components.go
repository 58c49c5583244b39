package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dlclark/regexp2"
)

// component is a normalizer, pre-tokenizer, post-processor or decoder: the union of the fields that the
// kinds known here have.
type component struct {
	Type             string                 `json:"type"`
	AddPrefixSpace   *bool                  `json:"add_prefix_space"`
	UseRegex         *bool                  `json:"use_regex"`
	IndividualDigits bool                   `json:"individual_digits"`
	Behavior         string                 `json:"behavior"`
	Invert           bool                   `json:"invert"`
	Pattern          *splitPattern          `json:"pattern"`
	Single           []templateItem         `json:"single"`
	SpecialTokens    map[string]templateIDs `json:"special_tokens"`
	PreTokenizers    []*component           `json:"pretokenizers"`
	Normalizers      []*component           `json:"normalizers"`
	Processors       []*component           `json:"processors"`
}

type splitPattern struct {
	Regex  *string `json:"Regex"`
	String *string `json:"String"`
}

type templateItem struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *json.RawMessage `json:"Sequence"`
}

type templateIDs struct {
	IDs []int32 `json:"ids"`
}

func isTrue(b *bool) bool { return b == nil || *b } // add_prefix_space and use_regex are true by default

// size is how many components c is made of.
func (c *component) size() int {
	if c == nil {
		return 0
	}
	n := 1
	for _, parts := range [...][]*component{c.Normalizers, c.PreTokenizers, c.Processors} {
		for _, part := range parts {
			n += part.size()
		}
	}
	return n
}

const (
	maxComponents = 64 // of a normalizer, pre-tokenizer or post-processor
	maxAround     = 64 // tokens that are put around a prompt
)

// walk calls do for c, or for the parts of a Sequence, whatever the depth. A nil component has no parts.
func (c *component) walk(field string, parts func(*component) ([]*component, string), do func(*component, string) error) error {
	if c == nil {
		return nil
	}
	if c.Type != "Sequence" {
		return do(c, field)
	}
	list, key := parts(c)
	for i, part := range list {
		if err := part.walk(fmt.Sprintf("%s.%s[%d]", field, key, i), parts, do); err != nil {
			return err
		}
	}
	return nil
}

func unsupported(field, kind string) error {
	return fmt.Errorf("%s.type: %.80q is not supported", field, kind)
}

func (f *tokenizerJSON) loadNormalizer(t *Tokenizer) error {
	parts := func(c *component) ([]*component, string) { return c.Normalizers, "normalizers" }
	return f.Normalizer.walk("normalizer", parts, func(c *component, field string) error {
		if c.Type != "NFC" {
			return unsupported(field, c.Type)
		}
		t.compose = true
		return nil
	})
}

func (f *tokenizerJSON) loadStages(t *Tokenizer) error {
	parts := func(c *component) ([]*component, string) { return c.PreTokenizers, "pretokenizers" }
	byteLevel := false
	err := f.PreTokenizer.walk("pre_tokenizer", parts, func(c *component, field string) error {
		if byteLevel {
			return fmt.Errorf("%s: %s behind ByteLevel is not supported", field, c.Type)
		}
		switch c.Type {
		case "ByteLevel":
			byteLevel = true
			if isTrue(c.AddPrefixSpace) {
				t.stages = append(t.stages, prefixSpace{})
			}
			if isTrue(c.UseRegex) {
				t.stages = append(t.stages, scanner(scanGPT2))
			}
			return nil
		case "Digits":
			t.stages = append(t.stages, digits{c.IndividualDigits})
			return nil
		case "Split":
			s, err := c.splitStage(field)
			t.stages = append(t.stages, s)
			return err
		}
		return unsupported(field, c.Type)
	})
	if err == nil && !byteLevel {
		err = errors.New("pre_tokenizer: no ByteLevel in it, so this is not byte-level BPE")
	}
	return err
}

func (c *component) splitStage(field string) (stage, error) {
	var pattern string
	switch {
	case c.Pattern != nil && c.Pattern.Regex != nil:
		pattern = *c.Pattern.Regex
	case c.Pattern != nil && c.Pattern.String != nil:
		pattern = regexp2.Escape(*c.Pattern.String)
	default:
		return nil, fmt.Errorf("%s.pattern: neither Regex nor String", field)
	}
	matches, others := true, true
	switch c.Behavior {
	case "Isolated":
	case "Removed":
		matches, others = c.Invert, !c.Invert
	default:
		return nil, fmt.Errorf("%s.behavior: %.80q is not supported", field, c.Behavior)
	}
	return newSplit(field+".pattern", pattern, matches, others)
}

// loadTemplate takes from the post-processor what EncodePrompt puts around a prompt.
func (f *tokenizerJSON) loadTemplate(t *Tokenizer) error {
	parts := func(c *component) ([]*component, string) { return c.Processors, "processors" }
	return f.PostProcessor.walk("post_processor", parts, func(c *component, field string) error {
		switch c.Type {
		case "ByteLevel": // moves offsets only
			return nil
		case "TemplateProcessing":
		default:
			return unsupported(field, c.Type)
		}
		around := &t.prologue
		for i, item := range c.Single {
			switch {
			case item.SpecialToken != nil:
				known, ok := c.SpecialTokens[item.SpecialToken.ID]
				if !ok {
					return fmt.Errorf("%s.single[%d]: %.80q is not in special_tokens", field, i, item.SpecialToken.ID)
				}
				if len(known.IDs) > maxAround {
					return fmt.Errorf("%s.special_tokens[%.80q].ids: %d of them, the limit is %d", field, item.SpecialToken.ID, len(known.IDs), maxAround)
				}
				for _, id := range known.IDs {
					if t.Token(id) == "" {
						return fmt.Errorf("%s.special_tokens[%.80q].ids: no token has id %d", field, item.SpecialToken.ID, id)
					}
				}
				if *around = append(*around, known.IDs...); len(*around) > maxAround {
					return fmt.Errorf("%s.single[%d]: over %d tokens on a side of the prompt", field, i, maxAround)
				}
			case item.Sequence != nil && around == &t.prologue:
				around = &t.coda
			default:
				return fmt.Errorf("%s.single[%d]: want a SpecialToken, or the one Sequence", field, i)
			}
		}
		if around == &t.prologue {
			return fmt.Errorf("%s.single: no Sequence", field)
		}
		return nil
	})
}

func (f *tokenizerJSON) checkDecoder(*Tokenizer) error {
	if f.Decoder != nil && f.Decoder.Type != "ByteLevel" {
		return unsupported("decoder", f.Decoder.Type)
	}
	return nil
}
