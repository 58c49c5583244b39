package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/exec"
)

const (
	maxPrompt     = 64 << 20 // bytes that a template may write
	maxRange      = 1 << 16  // numbers that all calls of range in one rendering may give
	maxMacroDepth = 64       // macros that call one another
)

// render is the state of one rendering: what has been written, and what may still be used up.
type render struct {
	out    boundedWriter
	now    func() time.Time
	ranged int
	depth  int
	raised *RaisedError
}

// renderKey is where a rendering finds its state. No template can name it.
const renderKey = "orrery render"

// functions are what templates can call, apart from filters and methods.
func (r *render) functions() map[string]any {
	return map[string]any{
		renderKey:         r,
		"raise_exception": r.raise,
		"strftime_now":    r.strftime,
		"range":           r.numbers,
		"namespace":       newNamespace,
	}
}

func (r *render) raise(_ *exec.Evaluator, args *exec.VarArgs) (any, error) {
	r.raised = &RaisedError{args.First().String()}
	return nil, r.raised
}

func (r *render) strftime(_ *exec.Evaluator, args *exec.VarArgs) (string, error) {
	return strftime(r.now(), args.First().String())
}

// numbers is range. The library's own feeds a channel from a goroutine without a bound.
func (r *render) numbers(_ *exec.Evaluator, args *exec.VarArgs) ([]int, error) {
	bounds := []int{0, 0, 1} // start, stop, step
	switch n := len(args.Args); n {
	case 1:
		bounds[1] = args.Args[0].Integer()
	case 2, 3:
		for i, a := range args.Args {
			bounds[i] = a.Integer()
		}
	default:
		return nil, fmt.Errorf("range: %d arguments, want 1 to 3", n)
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if step == 0 {
		return nil, errors.New("range: the step is 0")
	}
	list := []int{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if r.ranged++; r.ranged > maxRange {
			return nil, fmt.Errorf("range: over %d numbers in one rendering", maxRange)
		}
		list = append(list, i)
	}
	return list, nil
}

// namespace is a set of variables that inner scopes can set. It might hold itself, so that it is not
// written out.
type namespace map[string]any

func (namespace) String() string { return "<namespace>" }

func newNamespace(_ *exec.Evaluator, args *exec.VarArgs) (namespace, error) {
	n := namespace{}
	for key, v := range args.KwArgs {
		n[key] = v.Interface()
	}
	return n, nil
}

// boundedWriter keeps what a template writes, up to maxPrompt bytes.
type boundedWriter struct{ strings.Builder }

func (w *boundedWriter) Write(p []byte) (int, error) { return w.WriteString(string(p)) }

func (w *boundedWriter) WriteString(s string) (int, error) {
	if w.Len()+len(s) > maxPrompt {
		return 0, fmt.Errorf("the prompt is over %d bytes", maxPrompt)
	}
	return w.Builder.WriteString(s)
}
