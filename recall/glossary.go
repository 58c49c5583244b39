package recall

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
)

//go:embed glossary.txt.gz
var packedGlossary []byte

// glossary is the text that documents are made of.
type glossary struct {
	lines             []string // each ends in a newline
	adjectives, nouns []string // single headwords of 4 to 9 small letters
}

// loadGlossary unpacks the glossary at its first use.
var loadGlossary = sync.OnceValues(func() (*glossary, error) {
	z, err := gzip.NewReader(bytes.NewReader(packedGlossary))
	if err != nil {
		return nil, fmt.Errorf("recall: glossary: %w", err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("recall: glossary: %w", err)
	}
	g := &glossary{}
	for line := range strings.Lines(string(text)) {
		g.lines = append(g.lines, line)
		if m := headword.FindStringSubmatch(line); m == nil {
			continue
		} else if m[2] == "adj" {
			g.adjectives = append(g.adjectives, m[1])
		} else {
			g.nouns = append(g.nouns, m[1])
		}
	}
	return g, nil
})

// headword matches the lines whose headword can name a code, as in training.
var headword = regexp.MustCompile(`^([a-z]{4,9}) \((adj|noun)\): `)
