package main

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// anchors are the places of a Markdown text that a link may name after #: headings, as GitHub makes names of them,
// and ids that stand in the text.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	inBlock := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inBlock = !inBlock
			continue
		}
		if inBlock {
			continue
		}
		for _, id := range anchorID.FindAllStringSubmatch(line, -1) {
			all[id[1]] = true
		}
		heading := headingLine.FindStringSubmatch(line)
		if heading == nil {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, linkTo.ReplaceAllString(heading[1], "$1"))
		unique := name
		for n := 1; all[unique]; n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		all[unique] = true
	}
	return all
}

var (
	anchorID    = regexp.MustCompile(`<a id="([^"]*)"`)
	headingLine = regexp.MustCompile(`^#{1,6} +(.*?) *#*\s*$`)
	linkTo      = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	codeSpan    = regexp.MustCompile("`[^`]*`")
	mention     = regexp.MustCompile(`\b(?:docs|research)/[\w/.-]*\.(?:md|svg|yaml|sh|py)\b`)
)

// links are where the links of a Markdown text lead to, those in code left out.
func links(text string) []string {
	var all []string
	inBlock := false
	var prose strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			inBlock = !inBlock
		} else if !inBlock && !strings.HasPrefix(line, "    ") {
			prose.WriteString(line)
		}
	}
	for _, link := range linkTo.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose.String(), ""), -1) {
		all = append(all, link[2])
	}
	return all
}

func TestAnchorsAreThoseThatGitHubMakes(t *testing.T) {
	got := anchors("# Memory, predicted and measured\n## `auto`: how\n## What's *new*\n## Use\n## Use\n```\n# no heading\n```\n<a id=\"shared\"></a>text\n## [rdma_en2](x.md)\n")
	for _, want := range []string{"memory-predicted-and-measured", "auto-how", "whats-new", "use", "use-1", "shared", "rdma_en2"} {
		if !got[want] {
			t.Errorf("%s is not among %v", want, got)
		}
	}
	if len(got) != 7 {
		t.Errorf("there are %d: %v", len(got), got)
	}
}

// TestLinksInDocumentsLeadSomewhere follows each link within the repository to its file, and to its place in it.
func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	places := map[string]map[string]bool{} // of each document
	texts := map[string]string{}
	for _, file := range documents(t, ".md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(b)
		places[file] = anchors(string(b))
	}
	followed := 0
	for file, text := range texts {
		for _, link := range links(text) {
			to, err := url.Parse(link)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			if to.Scheme != "" {
				continue
			}
			followed++
			target := file
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(file), to.Path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", file, link, err)
			} else if to.Fragment != "" && !places[target][to.Fragment] {
				t.Errorf("%s: %s: there is no heading or id of that name", file, link)
			}
		}
	}
	if followed < 50 {
		t.Errorf("only %d links were found", followed)
	}
}

// TestDocumentsThatTheCodeNamesExist looks for what comments, help texts and scripts send a reader to.
func TestDocumentsThatTheCodeNamesExist(t *testing.T) {
	named := 0
	for _, file := range documents(t, ".go", ".md", ".py", ".sh", ".yaml") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range mention.FindAllString(string(b), -1) {
			named++
			if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d were found", named)
	}
}

// documents are the repository's files with one of these endings.
func documents(t *testing.T, endings ...string) []string {
	t.Helper()
	var all []string
	root := filepath.Join("..", "..")
	if err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && strings.HasPrefix(name, ".") {
			return filepath.SkipDir
		}
		for _, ending := range endings {
			if strings.HasSuffix(path, ending) && entry.Type().IsRegular() {
				all = append(all, path)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}
