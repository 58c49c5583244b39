package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// commandLine is the command line as kong sees it.
func commandLine(t *testing.T) *kong.Kong {
	t.Helper()
	var c cli
	parser, err := kong.New(&c, append(c.options(), kong.Exit(func(int) {}))...)
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// commands are all commands that are shown, those too that only have others below them.
func commands(t *testing.T) []*kong.Node {
	var all []*kong.Node
	if err := kong.Visit(commandLine(t).Model, func(n kong.Visitable, next kong.Next) error {
		if node, ok := n.(*kong.Node); ok && node.Type == kong.CommandNode && !node.Hidden {
			all = append(all, node)
		}
		return next(nil)
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// path is the words by which a command is called, after the program's name.
func path(n *kong.Node) []string {
	var words []string
	for ; n.Type == kong.CommandNode; n = n.Parent {
		words = append([]string{n.Name}, words...)
	}
	return words
}

func TestHelpShowsAnExampleIn80Columns(t *testing.T) {
	// What kong would make of a type's name, or of a list whose placeholder says already that it is one.
	noName := regexp.MustCompile(`-FLAG\b|=INT\b|=FLOAT|=UINT|=STRING|…,\.\.\.`)
	for _, node := range commands(t) {
		name := strings.Join(path(node), " ")
		stdout, stderr, status := run(t, exitWithin, append(path(node), "--help")...)
		if status != 0 || stderr != "" {
			t.Errorf("%s: status %d, %s", name, status, stderr)
		}
		if !strings.Contains(stdout, fmt.Sprintf("\n    orrery %s", name)) {
			t.Errorf("%s: there is no example in %s", name, stdout)
		}
		if strings.Contains(stdout, "--child") {
			t.Errorf("%s: it shows what is not for users", name)
		}
		for _, line := range strings.Split(stdout, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("%s: this is wider than 80 columns: %s", name, line)
			}
			if noName.MatchString(line) {
				t.Errorf("%s: this says nothing of what is to be given: %s", name, line)
			}
		}
	}
}

// documented is a command as a document shows it.
type documented struct {
	where string
	words []string // after the program's name
	prose bool     // it is named within a sentence, and may leave out what the sentence is not about
}

// shown are the commands in code blocks, fenced or indented, and between backquotes if they begin with the program's name.
func shown(where, text string) []documented {
	var all []documented
	add := func(line string, prose bool) {
		words := shellWords(line)
		i := slices.IndexFunc(words, func(w string) bool {
			return w == "orrery" || strings.HasSuffix(w, "/orrery") && !strings.Contains(w, "=")
		})
		if i >= 0 && i+1 < len(words) && (i == 0 || slices.Equal(words[:i], []string{"go", "run"}) || strings.Contains(words[i-1], "=")) {
			all = append(all, documented{where: where, words: words[i+1:], prose: prose})
		}
	}
	inBlock := false
	var prose []string
	joined := ""
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "    ")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inBlock = !inBlock
			continue
		}
		if !inBlock && !indented {
			prose = append(prose, line)
			continue
		}
		if joined += " " + strings.TrimSuffix(line, `\`); !strings.HasSuffix(line, `\`) {
			add(joined, false)
			joined = ""
		}
	}
	for i, span := range strings.Split(strings.Join(prose, " "), "`") {
		if i%2 == 1 && strings.HasPrefix(span, "orrery ") {
			add(span, true)
		}
	}
	return all
}

// shellWords are the words of a command up to its end, where another one, a redirection or a comment begins.
func shellWords(line string) []string {
	word := regexp.MustCompile(`^(?:'[^']*'|"[^"]*"|[^\s'"#|;&>]|\b#)+`)
	var words []string
	for {
		line = strings.TrimLeft(line, " ")
		w := word.FindString(line)
		if w == "" {
			return words
		}
		words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(w))
		line = line[len(w):]
	}
}

func TestShellWordsAreThoseOfOneCommand(t *testing.T) {
	for line, want := range map[string]string{
		`orrery ca issue a --dir ca        # and so for b`: "orrery|ca|issue|a|--dir|ca",
		`A=1 orrery generate --prompt 'Why is it?' > x`:    "A=1|orrery|generate|--prompt|Why is it?",
		`orrery demo --format json | jq .`:                 "orrery|demo|--format|json",
		`orrery node & orrery demo`:                        "orrery|node",
	} {
		if got := strings.Join(shellWords(line), "|"); got != want {
			t.Errorf("%s: %s", line, got)
		}
	}
}

// TestCommandsInDocumentsAreAccepted parses every command that a document or a help text shows. Whether files are there
// does not matter.
func TestCommandsInDocumentsAreAccepted(t *testing.T) {
	var all []documented
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../research/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, shown(file, string(b))...)
		}
	}
	for _, node := range commands(t) {
		all = append(all, shown("help of "+strings.Join(path(node), " "), "```\n"+node.Detail+"\n```")...)
	}
	if len(all) < 100 {
		t.Fatalf("only %d commands were found", len(all))
	}
	for _, d := range all {
		_, err := commandLine(t).Parse(d.words) // a new one: flags stay given
		switch {
		case err == nil, strings.Contains(err.Error(), "no such file or directory"):
		case d.prose && leftOut.MatchString(err.Error()):
		default:
			t.Errorf("%s: orrery %s: %v", d.where, strings.Join(d.words, " "), err)
		}
	}
}

// leftOut is how the program says that there is something to add.
var leftOut = regexp.MustCompile(`missing flags|expected one of|there is no (prompt|cluster): give`)
