package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orrery-ai/orrery/model/gguf"
)

// spaceMark stands for a space in the pieces of SentencePiece.
const spaceMark = "▁"

// markSpaces prepares text for the BPE of SentencePiece, which cuts nothing: merges go over the whole of it.
type markSpaces struct{ prefix bool }

func (m markSpaces) split(text string, _ *search, emit func(string)) {
	if m.prefix {
		text = " " + text
	}
	emit(strings.ReplaceAll(text, " ", spaceMark))
}

// maxPiece bounds a token, in bytes: every way to cut it in two is tried. The longest published are runs of 31 spaces.
const maxPiece = 512

// loadPieces loads the BPE of SentencePiece (Kudo and Richardson, 2018). Its file has no merges: two neighbours
// may become a token whenever there is one of their text, and the one with the highest score comes first.
// Characters without a token are written as bytes, which have tokens like <0x0A>.
func (m ggufMetadata) loadPieces(t *Tokenizer, v *ggufVocab) error {
	list := m.values[ggufPrefix+"scores"]
	scores, err := list.Floats()
	if err == nil && list.Len() != len(v.tokens) {
		err = fmt.Errorf("%d of them for %d tokens", list.Len(), len(v.tokens))
	}
	if err != nil {
		return ggufKey("scores", err)
	}
	n := len(v.tokens)
	t.tokens, t.raws, t.special = v.tokens, make([]string, n), make([]bool, n)
	t.characters = true
	for id, token := range v.tokens {
		if len(token) > maxPiece {
			return ggufKey("tokens", fmt.Errorf("%d has %d bytes, the limit is %d", id, len(token), maxPiece))
		}
	}
	haveByte := [256]bool{}
	for id, token := range v.tokens {
		t.raws[id] = strings.ReplaceAll(token, spaceMark, " ")
		switch v.kinds[id] {
		case ggufByte:
			b, err := byteOf(token)
			if err != nil {
				return ggufKey("tokens", fmt.Errorf("%d: %w", id, err))
			}
			t.byteID[b], t.raws[id], haveByte[b] = int32(id), string([]byte{b}), true
		case ggufNormal:
			if other, twice := t.ids[token]; twice {
				return ggufKey("tokens", fmt.Errorf("%.80q is both %d and %d", token, other, id))
			}
			if token == "" {
				return ggufKey("tokens", fmt.Errorf("%d is empty", id))
			}
			t.ids[token] = int32(id)
		}
	}
	for b := range haveByte {
		if id, ok := t.ids[string(rune(b))]; ok && b < utf8.RuneSelf {
			t.byteID[b] = id
		} else if !haveByte[b] {
			return ggufKey("tokens", fmt.Errorf("no token for byte %#02x", b))
		}
	}
	of := make([]float64, n)
	for i, s := range scores {
		of[i] = s
	}
	t.mergeByScore(of)
	for _, a := range v.added() {
		if a.Content == "" {
			return ggufKey("tokens", fmt.Errorf("%d is empty", a.ID))
		}
		if id, ok := t.ids[a.Content]; ok {
			return ggufKey("tokens", fmt.Errorf("%.80q is both %d and %d", a.Content, id, a.ID))
		}
		t.ids[a.Content], t.raws[a.ID], t.special[a.ID] = a.ID, a.Content, a.Special
		if err := t.verbatim.add(a, a.Content); err != nil {
			return ggufKey("tokens", fmt.Errorf("%d: %w", a.ID, err))
		}
	}
	prefix, err := ggufGet(m, "add_space_prefix", true, gguf.Value.Bool)
	if err != nil {
		return err
	}
	t.stages = []stage{markSpaces{prefix}}
	t.leadingSpace = prefix
	return m.loadAround(t, true)
}

// byteOf is the byte that a token like <0x0A> stands for.
func byteOf(token string) (byte, error) {
	hex, ok := strings.CutPrefix(token, "<0x")
	hex, closed := strings.CutSuffix(hex, ">")
	b, err := strconv.ParseUint(hex, 16, 8)
	if !ok || !closed || err != nil || len(hex) != 2 {
		return 0, errors.New("a byte is written as <0x0A>, not as " + strconv.Quote(token))
	}
	return byte(b), nil
}

// mergeByScore makes a merge of every way to put a token together from two others. Tokens of one score have one
// rank, so that among them the leftmost is merged first.
func (t *Tokenizer) mergeByScore(scores []float64) {
	ids := make([]int32, 0, len(t.ids))
	for _, id := range t.ids {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b int32) int { return cmp.Or(cmp.Compare(scores[b], scores[a]), cmp.Compare(a, b)) })
	t.merges = map[uint64]merge{}
	rank := int32(0)
	for i, id := range ids {
		if i > 0 && scores[id] != scores[ids[i-1]] {
			rank++
		}
		token := t.tokens[id]
		for at := range token {
			left, ok := t.ids[token[:at]]
			if !ok {
				continue
			}
			if right, ok := t.ids[token[at:]]; ok {
				t.merges[pairKey(left, right)] = merge{rank, id}
			}
		}
	}
}
