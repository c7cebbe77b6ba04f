package errorpages

import (
	"bytes"
	"fmt"
	"html/template"
	"reflect"
	"slices"
	"strings"
	"text/template/parse"
)

// fields are all that a page may show. They hold nothing that problem details do
// not say anyway.
type fields struct {
	Status     int
	Title      string
	Detail     string
	Code       string
	RequestID  string
	TraceID    string
	RetryAfter string // seconds, "" when nobody can say
}

// page is a checked template. html/template escapes every value for the place it
// stands in.
type page struct{ t *template.Template }

func newPage(text string) (*page, error) {
	t, err := template.New("page").Parse(text)
	if err != nil {
		return nil, err
	}
	if t.Tree == nil {
		return nil, fmt.Errorf("the page is empty")
	}
	for _, other := range t.Templates() {
		if other != t && other.Name() != "page" {
			return nil, fmt.Errorf("define is not allowed in a page")
		}
	}
	if err := check(t.Tree.Root); err != nil {
		return nil, err
	}
	p := &page{t}
	// Escaping is worked out at the first use: it must fail now or never.
	_, err = p.render(&fields{Status: 500, Title: "T", Detail: "D", Code: "internal", RequestID: "r", TraceID: "t", RetryAfter: "1"})
	return p, err
}

// check lets through text, fields and conditions on them: no functions, loops or
// other templates, so that a page costs what its length says.
func check(n parse.Node) error {
	switch n := n.(type) {
	case nil, *parse.TextNode, *parse.CommentNode:
		return nil
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, c := range n.Nodes {
			if err := check(c); err != nil {
				return err
			}
		}
		return nil
	case *parse.ActionNode:
		return checkField(n.Pipe)
	case *parse.IfNode:
		if err := checkField(n.Pipe); err != nil {
			return err
		}
		if err := check(n.List); err != nil {
			return err
		}
		return check(n.ElseList)
	}
	return fmt.Errorf("%s is not allowed in a page: want fields as {{.Title}}, and {{if}} {{else}} {{end}}", n)
}

func checkField(p *parse.PipeNode) error {
	known := make([]string, 0, 8)
	for f := range reflect.TypeFor[fields]().Fields() {
		known = append(known, f.Name)
	}
	if len(p.Decl) == 0 && len(p.Cmds) == 1 && len(p.Cmds[0].Args) == 1 {
		if f, ok := p.Cmds[0].Args[0].(*parse.FieldNode); ok && len(f.Ident) == 1 && slices.Contains(known, f.Ident[0]) {
			return nil
		}
	}
	return fmt.Errorf("{{%s}} is not allowed in a page: known are .%s", p, strings.Join(known, ", ."))
}

func (p *page) render(f *fields) ([]byte, error) {
	var b bytes.Buffer
	err := p.t.Execute(&b, f)
	return b.Bytes(), err
}
