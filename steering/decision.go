package steering

import (
	"fmt"
	"strings"
	"time"

	"github.com/orrery-ai/orrery/placement"
)

// Decision is a mode that was chosen, and why.
type Decision struct {
	Mode      placement.Mode
	Tokens    int    // in the cache when it was taken
	Sequences int    // that it goes by, this one included
	Change    bool   // the sequence is to change to Mode; otherwise it is in it
	Reason    string // in one line, without the mode
}

// seconds writes a time with about three digits.
func seconds(s float64) string {
	if !(s >= 0 && s < 1e9) {
		return fmt.Sprintf("%gs", s)
	}
	precision := time.Nanosecond
	for float64(precision) < s*float64(time.Second)/1000 {
		precision *= 10
	}
	return time.Duration(s * float64(time.Second)).Round(precision).String()
}

// startReason compares what a job takes in each mode.
func startReason(courses []course, chosen course, prompt, tokens, sequences int) string {
	reason := fmt.Sprintf("%s predicted for %d tokens to read and %d to write", seconds(chosen.seconds), prompt, tokens)
	if sequences > 1 {
		reason += fmt.Sprintf(" as one of %d sequences", sequences)
	}
	if chosen.then != 0 {
		reason += fmt.Sprintf(", in %v from about %d on", chosen.then, chosen.from)
	}
	var others []string
	for _, c := range courses {
		if c.mode != chosen.mode {
			others = append(others, fmt.Sprintf("beginning in %v %s", c.mode, seconds(c.seconds)))
		}
	}
	if len(others) == 0 {
		return reason + "; no other mode is possible"
	}
	return reason + "; " + strings.Join(others, ", ")
}

// reason compares the steps, and the gain with the cost.
func (w *weighed) reason(from placement.Mode, left, sequences int) string {
	of := ""
	if sequences > 1 {
		of = fmt.Sprintf(" of each of %d sequences", sequences)
	}
	return fmt.Sprintf("a token%s takes %s, in %v %s; over %d tokens to come that gains %s, and the switch takes %s",
		of, seconds(w.then), from, seconds(w.now), left, seconds(w.gain), seconds(w.cost))
}
