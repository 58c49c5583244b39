package tokenizer

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	rawBlock    = regexp.MustCompile(`^\{%[-+]?\s*raw\s*[-+]?%\}`)
	rawBlockEnd = regexp.MustCompile(`\{%[-+]?\s*endraw\s*[-+]?%\}`)
)

// maxBrackets is how deeply brackets may nest in a tag: the library's parser recurses by kilobytes of stack
// for each, without a bound.
const maxBrackets = 100

// lstripBlocks removes the white space between the start of a line and a block or comment, which is Jinja's
// lstrip_blocks. (The library's own also removes it behind an expression on the same line.)
func lstripBlocks(source string) (string, error) {
	var b strings.Builder
	raw := false // in a raw block, where only its end is a tag
	for source != "" {
		start := nextTag(source)
		if raw {
			start = nextRawEnd(source)
		}
		data, tag := source[:start], source[start:]
		if strings.HasPrefix(tag, "{%") || strings.HasPrefix(tag, "{#") {
			data = stripLine(data, &b, tag)
		}
		b.WriteString(data)
		raw = !raw && rawBlock.MatchString(tag)
		end, deepest := tagEnd(tag)
		if deepest > maxBrackets {
			return "", fmt.Errorf("brackets nested over %d deep", maxBrackets)
		}
		b.WriteString(tag[:end])
		source = tag[end:]
	}
	return b.String(), nil
}

// stripLine is data without the white space of its last line, if that line has nothing else and started
// there: before is what has been written so far.
func stripLine(data string, before *strings.Builder, tag string) string {
	if strings.HasPrefix(tag[2:], "+") {
		return data
	}
	stripped := strings.TrimRight(data, " \t")
	if strings.HasSuffix(stripped, "\n") || stripped == "" && (before.Len() == 0 || strings.HasSuffix(before.String(), "\n")) {
		return stripped
	}
	return data
}

// nextTag is the offset of the next tag of any kind, or the length of s.
func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '%' || s[i+1] == '{' || s[i+1] == '#') {
			return i
		}
	}
	return len(s)
}

// nextRawEnd is the offset of the tag that ends a raw block, or the length of s.
func nextRawEnd(s string) int {
	if at := rawBlockEnd.FindStringIndex(s); at != nil {
		return at[0]
	}
	return len(s)
}

// tagEnd is the length of the tag that s starts with, all of s if the tag has no end and 0 if s is empty,
// and how deeply brackets nest in it.
func tagEnd(s string) (end, deepest int) {
	if s == "" {
		return 0, 0
	}
	if s[1] == '#' {
		if end := strings.Index(s, "#}"); end >= 0 {
			return end + 2, 0
		}
		return len(s), 0
	}
	closing := byte('%')
	if s[1] == '{' {
		closing = '}'
	}
	depth := 0 // of brackets, in which the end cannot be
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '"':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case depth == 0 && c == closing && strings.HasPrefix(s[i+1:], "}"):
			return i + 2, deepest
		case c == '{' || c == '[' || c == '(':
			depth++
			deepest = max(deepest, depth)
		case (c == '}' || c == ']' || c == ')') && depth > 0:
			depth--
		}
	}
	return len(s), deepest
}
