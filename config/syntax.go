package config

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

const maxAliased = 50_000 // nodes that aliases may add in all

// parseYAML turns the document's text into nodes. It returns nil when the text
// is no usable YAML; what is wrong is in c.
func parseYAML(c *collector) (root *node) {
	src := c.doc.source
	if !checkSize(c, src) || !checkText(c, src) {
		return nil
	}
	tokens := joinScalars(lexer.Tokenize(src))
	if !checkTokens(c, tokens) {
		return nil
	}
	defer func() {
		// The parser is fuzzed, but it is not ours: a file must not end us.
		if r := recover(); r != nil {
			c.add(0, 0, "", "not understood as YAML: %v", r)
			root = nil
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		addSyntaxError(c, err)
		return nil
	}
	var body ast.Node
	seen := 0
	for _, doc := range file.Docs {
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			line, col := position(doc.Body)
			c.add(line, col, "", "YAML directives are not supported: remove the line that starts with %%")
			return nil
		}
		if doc.Body == nil && doc.Start == nil {
			continue
		}
		if seen++; seen > 1 {
			line, col := 0, 0
			if doc.Start != nil {
				line, col = doc.Start.Position.Line, doc.Start.Position.Column
			}
			c.add(line, col, "", "expected one YAML document, found a second: remove the --- and what follows")
			return nil
		}
		body = doc.Body
	}
	if body == nil || body.Type() == ast.NullType {
		c.add(1, 1, "", "expected a map of settings, found an empty file")
		return nil
	}
	s := syntax{collector: c, anchors: map[string]ast.Node{}}
	return s.node(body, "", 0)
}

// addSyntaxError reports the parser's message without the source excerpt that
// its Error method adds, which could hold a secret.
func addSyntaxError(c *collector, err error) {
	var ye yaml.Error
	if e, ok := err.(yaml.Error); ok {
		ye = e
	}
	if ye == nil || ye.GetToken() == nil || ye.GetToken().Position == nil {
		c.add(0, 0, "", "not valid YAML")
		return
	}
	p := ye.GetToken().Position
	msg := ye.GetMessage()
	if strings.Contains(msg, "'\t'") || strings.Contains(msg, "tab character") {
		msg = "indented with a tab: use spaces"
	}
	c.add(p.Line, p.Column, "", "not valid YAML: %s", msg)
}

// checkText refuses text that is not UTF-8 or holds control characters.
func checkText(c *collector, src string) bool {
	line, col := 1, 1
	for i, r := range src {
		bad := r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0x7f
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(src[i:]); size == 1 {
				bad = true
			}
		}
		if bad {
			c.add(line, col, "", "expected UTF-8 text, found the byte 0x%02x", src[i])
			return false
		}
		col++
		if r == '\n' {
			line, col = line+1, 1
		}
	}
	return true
}

func position(n ast.Node) (line, col int) {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 0, 0
}
