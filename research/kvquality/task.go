package main

import (
	"math"

	"github.com/orrery-ai/orrery/model"
	"github.com/orrery-ai/orrery/recall"
)

// task is a document with questions and their right answers, as token ids.
type task struct {
	ids     []int32
	answers [][2]int // positions whose logits choose the tokens of each answer, its end included: [first, end)
	from    int      // of the first
	vocab   int
}

func newTask(m *model.Model, tokens, codes int, seed uint64) (*task, error) {
	tk, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	doc, err := recall.Compose(func(s string) (int, error) { ids, err := tk.Encode(s, false); return len(ids), err }, tokens, codes, seed)
	if err != nil {
		return nil, err
	}
	t := &task{vocab: m.Config.Vocab}
	add := func(text string) error {
		ids, err := tk.Encode(text, true)
		t.ids = append(t.ids, ids...)
		return err
	}
	if err := add(doc.Text); err != nil {
		return nil, err
	}
	for i, c := range doc.Codes {
		turn := c.NextTurn()
		if i == 0 {
			turn = c.FirstTurn()
		}
		if err := add(turn); err != nil {
			return nil, err
		}
		first := len(t.ids) - 1
		if err := add(c.Answer()); err != nil {
			return nil, err
		}
		t.ids = append(t.ids, m.Config.EOS[0])
		t.answers = append(t.answers, [2]int{first, len(t.ids) - 1})
	}
	t.from = t.answers[0][0]
	return t, nil
}

// row is the logits at a position, of those from the first answer on.
func (t *task) row(logits []float32, position int) []float32 {
	return logits[(position-t.from)*t.vocab:][:t.vocab]
}

// result sums up answers.
type result struct {
	exact, asked int
	squares      float64
	logits       int
	most         float64
}

func (r *result) rms() float64 { return math.Sqrt(r.squares / float64(r.logits)) }

// add counts a task's exact answers, and the errors of the logits that gave them.
func (r *result) add(t *task, logits, reference []float32) {
	for _, a := range t.answers {
		right := true
		for at := a[0]; at < a[1]; at++ {
			row, want := t.row(logits, at), t.row(reference, at)
			best, spread := 0, deviation(want)
			for i, v := range row {
				if v > row[best] {
					best = i
				}
				off := math.Abs(float64(v-want[i])) / spread
				r.squares += off * off
				r.most = max(r.most, off)
			}
			r.logits += len(row)
			right = right && int32(best) == t.ids[at+1]
		}
		r.asked++
		if right {
			r.exact++
		}
	}
}

// deviation is the standard deviation of x.
func deviation(x []float32) float64 {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(x))
	return math.Sqrt(squares/n - sum*sum/n/n)
}
