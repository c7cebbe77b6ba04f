package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	redacted       = "(redacted)"
	maxExcerptLine = 160 // characters of a source line that are shown
	maxShown       = 60  // characters of a value that a message quotes
)

// excerpt shows one source line with a marker under the column.
func (d *document) excerpt(line, col int) string {
	if line < 1 {
		return ""
	}
	lines := strings.SplitN(d.source, "\n", line+1)
	if line > len(lines) {
		return ""
	}
	text := strings.TrimRight(d.masked(lines, line), "\r")
	// A place in what is masked is shown where the mask begins.
	if same := sameRunes(text, lines[line-1]); same < utf8.RuneCountInString(text) {
		col = min(col, same+1)
	}
	if r := []rune(text); len(r) > maxExcerptLine {
		text = string(r[:maxExcerptLine]) + "…"
	}
	number := fmt.Sprintf("%4d | ", line)
	out := number + printable(text) + "\n"
	if col >= 1 && col <= utf8.RuneCountInString(text)+1 {
		out += strings.Repeat(" ", len(number)+col-1) + "^\n"
	}
	return out
}

// sameRunes counts the characters with which both texts begin.
func sameRunes(a, b string) int {
	n, bs := 0, []rune(b)
	for _, r := range a {
		if n == len(bs) || bs[n] != r {
			break
		}
		n++
	}
	return n
}

// masked returns the line with secret values hidden: those that decoding met,
// and, because a broken file may not have been decoded, those under keys that
// look like secrets.
func (d *document) masked(lines []string, line int) string {
	text := lines[line-1]
	if d.isSecretLine(line) || underSecretKey(lines, line) {
		return maskAfterKey(text)
	}
	for _, m := range anyKey().FindAllStringSubmatchIndex(text, -1) {
		if looksSecret(text[m[2]:m[3]]) && strings.TrimSpace(text[m[1]:]) != "" {
			return text[:m[1]] + " " + redacted
		}
	}
	return maskUserinfo(text)
}

func anyKey() *regexp.Regexp { return regexp.MustCompile(`["']?([A-Za-z0-9_.-]+)["']?\s*:`) }

// maskAfterKey keeps the indentation and the first key.
func maskAfterKey(text string) string {
	if m := anyKey().FindStringIndex(text); m != nil {
		return text[:m[1]] + " " + redacted
	}
	body := strings.TrimLeft(text, " -")
	return text[:len(text)-len(body)] + redacted
}

// underSecretKey looks upwards for the key that a continued line (a block
// scalar, a list) belongs to.
func underSecretKey(lines []string, line int) bool {
	indent := indentOf(lines[line-1])
	for i := line - 2; i >= 0 && indent > 0; i-- {
		if strings.TrimSpace(lines[i]) == "" || indentOf(lines[i]) >= indent {
			continue
		}
		indent = indentOf(lines[i])
		if m := anyKey().FindStringSubmatch(lines[i]); m != nil && looksSecret(m[1]) {
			return true
		}
	}
	return false
}

func indentOf(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// printable keeps control characters of a file off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return '�'
		}
		return r
	}, s)
}

// shown quotes a value for a message.
func shown(s string) string {
	s = maskUserinfo(s)
	if r := []rune(s); len(r) > maxShown {
		s = string(r[:maxShown]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
