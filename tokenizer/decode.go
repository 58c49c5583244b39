package tokenizer

import "bytes"

// A Decoder turns the tokens of one sequence, one by one, into text. A character may be spread over
// several tokens: its bytes are held back until it is whole. It belongs to one goroutine.
type Decoder struct {
	t           *Tokenizer
	skipSpecial bool
	pending     []byte // an unfinished character
	text        []byte
}

// NewDecoder makes a decoder; with skipSpecial it leaves special tokens out.
func (t *Tokenizer) NewDecoder(skipSpecial bool) *Decoder {
	return &Decoder{t: t, skipSpecial: skipSpecial}
}

// Push returns the text that id completes, which may be empty: whole characters only. Bytes that cannot
// be part of one give U+FFFD. An id outside the vocabulary gives nothing.
func (d *Decoder) Push(id int32) string {
	if d.skipSpecial && d.t.IsSpecial(id) {
		return ""
	}
	d.pending = append(d.pending, d.t.raw(id)...)
	return d.take(false)
}

// Flush returns U+FFFD if the tokens ended within a character, else nothing. The decoder can be used again.
func (d *Decoder) Flush() string { return d.take(true) }

func (d *Decoder) take(last bool) string {
	text, rest := appendText(d.text[:0], d.pending, last)
	d.pending = append(d.pending[:0], rest...)
	d.text = text
	return string(text)
}

// Decode returns the text of ids, special tokens included, without the space that some
// vocabularies put before all text. Bytes that are not UTF-8 give U+FFFD, ids
// outside the vocabulary nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	size := 0
	for _, id := range ids {
		size += len(t.raw(id))
	}
	raw := make([]byte, 0, size)
	for _, id := range ids {
		raw = append(raw, t.raw(id)...)
	}
	if t.leadingSpace {
		raw = bytes.TrimPrefix(raw, []byte{' '})
	}
	text, _ := appendText(make([]byte, 0, size), raw, true)
	return string(text)
}
