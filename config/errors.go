package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors is how many errors one decode reports before it gives up listing.
const maxErrors = 100

// Error is one thing wrong with a file.
type Error struct {
	File   string
	Line   int    // from 1
	Column int    // from 1, in characters
	Path   string // as routes[2].timeout; "" for the whole file
	Msg    string // what was expected, what was found

	excerpt string
}

func (e Error) Error() string {
	at := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Line == 0 {
		at = e.File + ": "
	}
	if e.Path == "" {
		return at + e.Msg
	}
	return at + e.Path + ": " + e.Msg
}

// Excerpt is the source line with a marker under the place, for a terminal.
// Values that are, or look like, secrets are masked. It is "" when there is no
// line to show.
func (e Error) Excerpt() string { return e.excerpt }

// Errors is everything wrong with a file, in the order of its lines.
type Errors []Error

// Error gives one line per error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single Error.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Detail is Error with the excerpt under each line.
func (es Errors) Detail() string {
	var b strings.Builder
	for _, e := range es {
		b.WriteString(e.Error())
		b.WriteByte('\n')
		b.WriteString(e.excerpt)
	}
	return b.String()
}

// collector gathers the errors of one decode.
type collector struct {
	doc  *document
	errs Errors
	more int // beyond maxErrors
}

func (c *collector) add(line, col int, path, format string, args ...any) {
	if len(c.errs) >= maxErrors {
		c.more++
		return
	}
	c.errs = append(c.errs, Error{File: c.doc.name, Line: line, Column: col, Path: path, Msg: fmt.Sprintf(format, args...)})
}

func (c *collector) at(n *node, path, format string, args ...any) {
	c.add(n.line, n.col, path, format, args...)
}

// err returns what was gathered, or nil. Excerpts are made only now, when it
// is known which lines hold secrets.
func (c *collector) err() error {
	if len(c.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(c.errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	for i := range c.errs {
		c.errs[i].excerpt = c.doc.excerpt(c.errs[i].Line, c.errs[i].Column)
	}
	if c.more > 0 {
		c.errs = append(c.errs, Error{File: c.doc.name, Msg: fmt.Sprintf("and %d more errors", c.more)})
		c.more = 0
	}
	return c.errs
}
