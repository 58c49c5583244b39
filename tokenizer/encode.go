package tokenizer

// encoder is the scratch of one Encode. The stages are chained once, when it is made.
type encoder struct {
	t     *Tokenizer
	first func(piece string) // the head of the chain of stages
	merge merger
	form  []byte // a word in the byte-level alphabet
	out   []int32

	search search // for patterns in this text
}

func newEncoder(t *Tokenizer) *encoder {
	e := &encoder{t: t}
	e.first = e.word
	for i := len(t.stages) - 1; i >= 0; i-- {
		s, next := t.stages[i], e.first
		e.first = func(piece string) { s.split(piece, &e.search, next) }
	}
	return e
}

// Encode returns the tokens of text. With parseSpecial, the names of added tokens in text become those
// tokens; without, they are text like any other, so that what a user writes cannot end a turn. Text that
// is not UTF-8 keeps its bytes. The error is a [SlowPatternError].
func (t *Tokenizer) Encode(text string, parseSpecial bool) ([]int32, error) {
	return t.encode(make([]int32, 0, len(text)/4+8), text, parseSpecial)
}

// EncodePrompt is Encode with the tokens around it that the vocabulary's template asks for, such as a
// beginning-of-text token. A rendered chat brings those itself: use Encode for it.
func (t *Tokenizer) EncodePrompt(text string, parseSpecial bool) ([]int32, error) {
	ids := make([]int32, 0, len(text)/4+8+len(t.prologue)+len(t.coda))
	ids, err := t.encode(append(ids, t.prologue...), text, parseSpecial)
	if err != nil {
		return nil, err
	}
	return append(ids, t.coda...), nil
}

func (t *Tokenizer) encode(dst []int32, text string, parseSpecial bool) ([]int32, error) {
	e := t.encoders.Get().(*encoder)
	defer t.encoders.Put(e)
	e.out, e.search = dst, searchIn(text)
	size := len(text)
	switch {
	case !parseSpecial:
		if t.compose {
			text = nfc(text)
		}
		e.text(text)
	default:
		t.verbatim.split(text, e.token, e.stretch)
	}
	dst, e.out = e.out, nil
	if x := e.search.stuck; x != nil {
		return nil, &SlowPatternError{File: t.file, Field: x.field, Pattern: x.re.String(), Bytes: size}
	}
	return dst, nil
}

func (e *encoder) token(id int32) { e.out = append(e.out, id) }

// stretch encodes text between tokens that were found in the text as it came.
func (e *encoder) stretch(text string) {
	if e.t.compose {
		text = nfc(text)
	}
	e.t.normalised.split(text, e.token, e.text)
}

// text encodes normalised text without added tokens.
func (e *encoder) text(text string) {
	if text != "" {
		e.first(text)
	}
}

// word encodes one piece.
func (e *encoder) word(piece string) {
	if piece == "" {
		return
	}
	t := e.t
	if len(piece) == 1 {
		e.out = append(e.out, t.byteID[piece[0]])
		return
	}
	if len(piece) > cacheMaxWord {
		e.out = e.merged(e.out, piece)
		return
	}
	ids, slot := t.cache.get(piece)
	if ids != nil {
		e.out = append(e.out, ids...)
		return
	}
	from := len(e.out)
	e.out = e.merged(e.out, piece)
	t.cache.put(slot, piece, e.out[from:])
}

func (e *encoder) merged(dst []int32, piece string) []int32 {
	if e.t.ignoreMerges {
		e.form = appendAlphabet(e.form[:0], piece)
		if id, ok := e.t.ids[string(e.form)]; ok {
			return append(dst, id)
		}
	}
	return e.merge.run(dst, e.t, piece)
}
