package config

import (
	"reflect"
	"slices"
	"strings"
)

func (d *decoder) structure(n *node, v reflect.Value, r rules, path string) {
	from := len(d.errs)
	broken := false // a required value is missing: v cannot be relied on
	switch {
	case n.kind == mapNode:
		broken = d.fields(n, v, path)
	case n.kind == nullNode:
		d.at(n, path, "expected a map, found nothing: remove the key, or write {} for its defaults")
		return
	default:
		short, ok := shortField(v.Type(), r)
		if !ok {
			d.at(n, path, "expected a map with %s, found %s", keyList(fieldsOf(v.Type())), n.kindName())
			return
		}
		for _, f := range fieldsOf(v.Type()) {
			switch at := keyPath(path, f.name); {
			case f.name == short.name:
				d.value(n, v.FieldByIndex(f.index), f.rules, path)
			case f.required:
				d.at(n, path, "expected a map, because %s must be set too", f.name)
				broken = true
			default:
				d.defaults(v.FieldByIndex(f.index), f, n, at)
			}
		}
	}
	if !broken {
		d.validate(n, v, path, from)
	}
}

// fields decodes a map's entries and reports whether a required one is missing.
func (d *decoder) fields(n *node, v reflect.Value, path string) (missing bool) {
	fields := fieldsOf(v.Type())
	known := make(map[string]bool, len(fields))
	for _, f := range fields {
		known[f.name] = true
		at, fv := keyPath(path, f.name), v.FieldByIndex(f.index)
		e := n.get(f.name)
		if e == nil {
			if f.required {
				d.at(n, path, "%s is missing: expected %s", f.name, describe(f.typ, f.rules))
				missing = true
			} else {
				d.defaults(fv, f, n, at)
				d.keepLocal(fv, f, n, at)
			}
			continue
		}
		before := len(d.errs)
		d.value(e.value, fv, f.rules, at)
		d.keepLocal(fv, f, e.value, at)
		if f.required && len(d.errs) == before && e.value != nil && isEmpty(fv) {
			d.add(e.line, e.col, at, "must not be empty: expected %s", describe(f.typ, f.rules))
			missing = true
		}
	}
	for _, e := range n.entries {
		if !known[e.key] {
			if slices.ContainsFunc(fields, func(f fieldInfo) bool { return f.unit == unitSecret }) {
				d.doc.addSecretLine(e.line) // it may be the secret's key, misspelt
			}
			d.add(e.line, e.col, path, "unknown key %s: %s", shown(e.key), didYouMean(e.key, names(fields)))
		}
	}
	return missing
}

// keepLocal refuses in a snippet what would lend its writer something of this
// machine: a file to be shown, or credentials to be used.
func (d *decoder) keepLocal(v reflect.Value, f fieldInfo, n *node, at string) {
	if !d.doc.sealed || f.local == "" || v.Kind() != reflect.String {
		return
	}
	if s := v.String(); s == f.local || f.local == "*" && s != "" {
		d.at(n, at, "%s is for the configuration file alone, since it takes something of this machine: put the filter into a policy there, and name that", shown(s))
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return false
}

func names(fields []fieldInfo) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

func keyList(fields []fieldInfo) string {
	if len(fields) == 0 {
		return "no keys"
	}
	return "the keys " + strings.Join(names(fields), ", ")
}

// validate asks v. from is where the errors of v's own values begin.
func (d *decoder) validate(n *node, v reflect.Value, path string, from int) {
	if !v.CanAddr() || !v.Addr().CanInterface() || !v.Addr().Type().Implements(validatorType) {
		return
	}
	earlier := d.errs[from:len(d.errs):len(d.errs)]
	defer func() {
		// With errors below it, v may be half filled, which Validate need not
		// expect. Without any, a panic is a bug.
		if r := recover(); r != nil && len(earlier) == 0 {
			panic(r)
		}
	}()
	v.Addr().Interface().(Validator).Validate(func(rel, msg string) {
		at := joinPath(path, rel)
		for _, e := range earlier {
			if within(e.Path, at) || within(at, e.Path) {
				return
			}
		}
		line, col := n.locate(rel)
		d.add(line, col, at, "%s", msg)
	})
}

// within reports whether path is at or below outer.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (outer == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}
