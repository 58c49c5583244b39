package tokenizer

import (
	"fmt"
	"strings"
	"time"
)

// strftimeLayouts are the directives of C's strftime that templates use, as layouts of the time package.
var strftimeLayouts = map[string]string{
	"a": "Mon", "A": "Monday", "b": "Jan", "B": "January", "d": "02", "-d": "2", "e": "_2", "H": "15",
	"I": "03", "-I": "3", "j": "002", "m": "01", "-m": "1", "M": "04", "p": "PM", "S": "05", "y": "06", "Y": "2006",
	"z": "-0700", "Z": "MST", "F": "2006-01-02", "T": "15:04:05", "D": "01/02/06", "R": "15:04",
}

// strftime formats t by a strftime format. A directive that is not known is an error.
func strftime(t time.Time, format string) (string, error) {
	var b strings.Builder
	for format != "" {
		text, rest, found := strings.Cut(format, "%")
		b.WriteString(text)
		if !found {
			break
		}
		n := 1
		if strings.HasPrefix(rest, "-") {
			n = 2
		}
		if len(rest) < n {
			return "", fmt.Errorf("strftime_now: %q ends within a directive", format)
		}
		directive := rest[:n]
		format = rest[n:]
		if directive == "%" {
			b.WriteByte('%')
			continue
		}
		layout, ok := strftimeLayouts[directive]
		if !ok {
			return "", fmt.Errorf("strftime_now: directive %%%s is not supported", directive)
		}
		b.WriteString(t.Format(layout))
	}
	return b.String(), nil
}
