package fault

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

func TestAScriptSaysWhatItSays(t *testing.T) {
	got, err := Parse(`
		after 3 frames of partial: delay 20ms; after 1MiB on bulk:flip bit   # a comment: with; marks
		each at 2s to node-1 back : cut;;
		after 0 frames of kv-move of-course`)
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || *syntax != (SyntaxError{4, 29, "of-course", "of, to, on, back or a colon, each once"}) {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = Parse(`
		after 3 frames of partial: delay 20ms; after 1MiB on bulk:flip bit   # a comment: with; marks
		each at 2s to node-1 back : cut;;
		after 1 frame of kv-move: reorder 4; at 0s: half-open; after 12B: flip 3 bits
		after 2KiB: truncate; at 1m: stall 1.5s`)
	if err != nil {
		t.Fatal(err)
	}
	want := Script{
		{Text: "after 3 frames of partial: delay 20ms", After: 3, Of: transport.Partial, Kind: Delay, Length: 20 * time.Millisecond},
		{Text: "after 1MiB on bulk:flip bit", Bytes: true, After: 1 << 20, OfAny: true, On: "bulk", Kind: Flip, Count: 1},
		{Text: "each at 2s to node-1 back : cut", Each: true, Timed: true, At: 2 * time.Second, OfAny: true, To: "node-1", Back: true, Kind: Cut},
		{Text: "after 1 frame of kv-move: reorder 4", After: 1, Of: transport.KVMove, Kind: Reorder, Count: 4},
		{Text: "at 0s: half-open", Timed: true, OfAny: true, Kind: HalfOpen},
		{Text: "after 12B: flip 3 bits", Bytes: true, After: 12, OfAny: true, Kind: Flip, Count: 3},
		{Text: "after 2KiB: truncate", Bytes: true, After: 2 << 10, OfAny: true, Kind: Truncate},
		{Text: "at 1m: stall 1.5s", Timed: true, At: time.Minute, OfAny: true, Kind: Stall, Length: 1500 * time.Millisecond},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v, want\n%+v", got, want)
	}
}

func TestErrorsNameThePlaceAndWhatWasWanted(t *testing.T) {
	for script, want := range map[string]string{
		"sometimes: cut":                    `line 1, column 1: "sometimes", want at or after`,
		"at 2s: cut\n at 3: cut":            `line 2, column 5: "3", want a duration such as 20ms, up to an hour`,
		"at":                                `line 1, column 3: the end of the rule, want a duration such as 20ms, up to an hour`,
		"after 3: cut":                      `line 1, column 8: ":", want frames`,
		"after 3MB: cut":                    `line 1, column 7: "3MB", want a number of frames, or bytes such as 300KiB`,
		"after 1099511627776GiB: cut":       `line 1, column 7: "1099511627776GiB", want at most 1024GiB`,
		"after 3 frames of tea: cut":        `line 1, column 19: "tea", want the purpose of a lane, such as partial, or control`,
		"after 3 frames on tea: cut":        `line 1, column 19: "tea", want control, small or bulk`,
		"after 3 frames to : cut":           `line 1, column 19: ":", want the name of a node`,
		"after 3 frames back back: cut":     `line 1, column 21: "back", want of, to, on, back or a colon, each once`,
		"at 1s: explode":                    `line 1, column 8: "explode", want a fault: delay, stall, reorder, truncate, flip, cut, half-open`,
		"at 1s: cut off":                    `line 1, column 12: "off", want ; or the end of the line`,
		"at 1s: flip 0 bits":                `line 1, column 13: "0", want a number from 1 to 1000`,
		"at 1s: flip 2":                     `line 1, column 14: the end of the rule, want bits`,
		"at 1s: reorder many":               `line 1, column 16: "many", want a number from 1 to 1000`,
		"at 1s # : cut\nafter 1 frame: cut": `line 1, column 14: the end of the rule, want of, to, on, back or a colon, each once`,
	} {
		if _, err := Parse(script); err == nil || err.Error() != "fault script, "+want {
			t.Errorf("%q: %v, want %s", script, err, want)
		}
	}
}

// FuzzParse checks that whatever is understood means the same when it is written as it was understood.
func FuzzParse(f *testing.F) {
	f.Add("after 3 frames of partial: delay 20ms; after 1MiB on bulk: flip bit; each at 2s to n1 back: cut # end")
	f.Add("after 0 frames: reorder 3\nat 1h: half-open;;\n\n")
	f.Add("at 1s: flip 2 bits;after 1B:truncate")
	f.Add("at 2s to \xeb\v\f\u0085\u2003 \t\r on bulk: cut") // other than blanks belongs to a name
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Want == "" {
				t.Fatalf("%q: %#v", text, err)
			}
			return
		}
		var rules []string
		for _, r := range s {
			rules = append(rules, r.Text)
		}
		again := strings.Join(rules, ";") // no longer than text, which may be as long as a script can be
		if got, err := Parse(again); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%q means %+v, and written again %+v, %v", text, s, got, err)
		}
	})
}
