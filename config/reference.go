package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Reference is the Markdown reference of every key, made from the tags: what
// docs/config.md holds between its introduction and its end. filters and docs
// are as for Schema.
func Reference(filters map[string]any, docs map[string]string) string {
	return referenceOf(reflect.TypeFor[Snapshot](), filters, docs)
}

// referenceOf is Reference with any root.
func referenceOf(root reflect.Type, filters map[string]any, docs map[string]string) string {
	r := reference{anchors: map[reflect.Type]string{}}
	r.section(root, "", "## The file", "")
	if len(filters) > 0 {
		r.out.WriteString("<a id=\"filters\"></a>\n## Filters\n\nA filter is written as its name, or as a map with its name as the only key.\n\n")
	}
	for _, kind := range slices.Sorted(maps.Keys(filters)) {
		t := reflect.TypeOf(filters[kind])
		for t != nil && t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t != nil && t.Kind() == reflect.Struct {
			r.section(t, "filters."+kind, "### "+kind, docs[kind])
		}
	}
	return strings.TrimRight(r.out.String(), "\n") + "\n"
}

const (
	referenceBegin = "<!-- begin reference -->\n"
	referenceEnd   = "<!-- end reference -->"
)

// UpdateReference returns the document doc with the reference between its
// markers `<!-- begin reference -->` and `<!-- end reference -->` brought up to
// date. A document is current when that changes nothing.
func UpdateReference(doc string, filters map[string]any, docs map[string]string) (string, error) {
	before, rest, ok := strings.Cut(doc, referenceBegin)
	_, after, ok2 := strings.Cut(rest, referenceEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("config: reference: expected the lines %s and %s in this order", strings.TrimSpace(referenceBegin), referenceEnd)
	}
	return before + referenceBegin + Reference(filters, docs) + referenceEnd + after, nil
}

type reference struct {
	out     strings.Builder
	anchors map[reflect.Type]string // where a type's table stands
}

// section writes the table of a struct, and after it those of the structs
// within that have none yet.
func (r *reference) section(t reflect.Type, path, heading, doc string) {
	if path != "" {
		r.anchors[t] = anchorOf(path)
		fmt.Fprintf(&r.out, "<a id=%q></a>\n", anchorOf(path))
	}
	fmt.Fprintf(&r.out, "%s\n\n", heading)
	if doc != "" {
		fmt.Fprintf(&r.out, "%s\n\n", doc)
	}
	if short, ok := shortField(t, rules{}); ok {
		fmt.Fprintf(&r.out, "A lone value in place of the map sets `%s`.\n\n", short.name)
	}
	fields := fieldsOf(t)
	if len(fields) == 0 {
		r.out.WriteString("It has no keys.\n\n")
		return
	}
	type inner struct {
		f    fieldInfo
		t    reflect.Type
		path string
	}
	var later []inner
	for _, f := range fields {
		if st, suffix, ok := structWithin(f.typ, f.rules); ok && r.anchors[st] == "" && st != t {
			at := path + "." + f.name + suffix
			at = strings.TrimPrefix(at, ".")
			r.anchors[st] = anchorOf(at)
			later = append(later, inner{f, st, at})
		}
	}
	r.out.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(&r.out, "| `%s` | %s | %s | %s |\n", f.name, r.typeName(f.typ, f.rules), defaultCell(f), meaning(f))
	}
	r.out.WriteString("\n")
	for _, in := range later {
		level := strings.Repeat("#", min(3+strings.Count(strings.ReplaceAll(in.path, ".<name>", ""), "."), 6))
		r.section(in.t, in.path, level+" `"+in.path+"`", in.f.doc)
	}
}

// structWithin finds the struct that a field holds, and what its path gets:
// [] for a list, .<name> for a map.
func structWithin(t reflect.Type, r rules) (reflect.Type, string, bool) {
	switch {
	case t.Kind() == reflect.Pointer:
		return structWithin(t.Elem(), r)
	case classOf(t, r) == classStruct:
		return t, "", true
	case classOf(t, r) == classList:
		st, suffix, ok := structWithin(t.Elem(), r.element())
		return st, "[]" + suffix, ok
	case classOf(t, r) == classMap:
		st, suffix, ok := structWithin(t.Elem(), r.element())
		return st, ".<name>" + suffix, ok
	}
	return nil, "", false
}

func anchorOf(path string) string {
	return strings.Trim(strings.NewReplacer(".<name>", "", "[]", "", ".", "-").Replace(path), "-")
}

func (r *reference) typeName(t reflect.Type, u rules) string {
	if t.Kind() == reflect.Pointer {
		return r.typeName(t.Elem(), u)
	}
	if u.unit == unitSecret && classOf(t, u) == classString {
		return "secret"
	}
	switch classOf(t, u) {
	case classString:
		return "text"
	case classBool:
		return "bool"
	case classInt, classUint:
		return "whole number"
	case classFloat:
		return "number"
	case classDuration:
		return "duration"
	case classSize:
		return "size"
	case classText:
		return textWord(t)
	case classList:
		name := "list of " + r.typeName(t.Elem(), u.element())
		if u.listify {
			name += ", or one"
		}
		return name
	case classMap:
		return "map of name to " + r.typeName(t.Elem(), u.element())
	case classStruct:
		if a := r.anchors[t]; a != "" {
			return "[" + a + "](#" + a + ")"
		}
		return "map"
	case classFilter:
		return "[filter](#filters)"
	}
	return "any"
}

func textWord(t reflect.Type) string {
	words, _, _ := strings.Cut(describeText(t), " like ")
	return strings.TrimPrefix(strings.TrimPrefix(words, "an "), "a ")
}

func defaultCell(f fieldInfo) string {
	switch {
	case f.required:
		return "required"
	case f.hasDefault && f.def != "":
		return code(f.def)
	}
	return ""
}

func meaning(f fieldInfo) string {
	out := cell(f.doc)
	if len(f.enum) > 0 {
		quoted := make([]string, len(f.enum))
		for i, e := range f.enum {
			quoted[i] = code(e)
		}
		out += " One of " + strings.Join(quoted, ", ") + "."
	}
	if f.min+f.max != "" {
		out += " Allowed: " + rangeWords(f.min, f.max) + "."
	}
	if f.pattern != "" {
		out += " Matches " + code(f.pattern) + "."
	}
	if f.unit == unitSecret {
		out += " `file:/path` reads a file."
	}
	if f.example != "" {
		out += " Example: " + code(f.example) + "."
	}
	return strings.TrimSpace(out)
}

// cell keeps a table's row in one piece.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}

func code(s string) string {
	return "`" + strings.NewReplacer("|", `\|`, "\n", " ").Replace(s) + "`"
}
