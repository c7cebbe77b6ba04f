package config

import (
	"encoding"
	"fmt"
	"reflect"
	"time"
)

// Dump turns a decoded configuration into values that encoding/json writes:
// durations and sizes as in YAML, secrets as "(redacted)". A filter's section
// is shown as the struct it was last decoded into has it, defaults included;
// one that never was is shown as written, values under suspicious keys redacted.
func Dump(v any) any {
	return dumpValue(reflect.ValueOf(v), rules{}, "")
}

func dumpValue(v reflect.Value, r rules, key string) any {
	if !v.IsValid() {
		return nil
	}
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if v.Type() == sectionType {
			return v.Interface().(*Section).dump()
		}
		return dumpValue(v.Elem(), r, key)
	}
	switch classOf(v.Type(), r) {
	case classString:
		if v.String() != "" && (r.unit == unitSecret || looksSecret(key)) {
			return redacted
		}
		return maskUserinfo(v.String())
	case classDuration:
		return time.Duration(v.Int()).String()
	case classSize:
		return formatSize(v.Int())
	case classBool, classInt, classUint, classFloat:
		if looksSecret(key) {
			return redacted
		}
		return v.Interface()
	case classText:
		if r.unit == unitSecret {
			return redacted
		}
		return dumpText(v)
	case classList:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = dumpValue(v.Index(i), r.element(), key)
		}
		return out
	case classMap:
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()] = dumpValue(it.Value(), r.element(), it.Key().String())
		}
		return out
	case classFilter:
		if f, ok := v.Interface().(Filter); ok {
			return map[string]any{f.Kind: f.Section.dump()}
		}
		kind, section := v.Interface().(interface{ Filter() (string, any) }).Filter()
		s, _ := section.(*Section)
		return map[string]any{kind: s.dump()}
	case classStruct:
		return dumpStruct(v)
	}
	return "(" + v.Type().String() + ")"
}

// dumpStruct shows what can be set. The tags say what is secret, so the keys
// need not be guessed from.
func dumpStruct(v reflect.Value) any {
	fields := fieldsOf(v.Type())
	if len(fields) == 0 && v.NumField() > 0 {
		return "(" + v.Type().String() + ")" // no tags that would say what is secret
	}
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		if fv.Kind() == reflect.Pointer && fv.IsNil() {
			continue
		}
		out[f.name] = dumpValue(fv, f.rules, "")
	}
	return out
}

func dumpText(v reflect.Value) any {
	m, ok := v.Interface().(encoding.TextMarshaler)
	if !ok && v.CanAddr() {
		m, ok = v.Addr().Interface().(encoding.TextMarshaler)
	}
	if !ok {
		return "(" + v.Type().String() + ")"
	}
	text, err := m.MarshalText()
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return maskUserinfo(string(text))
}

// dump shows the section. It is decoded once more, without reading secrets,
// so that the filter's own copy is not touched while the filter uses it.
func (s *Section) dump() any {
	if s == nil {
		return nil
	}
	d := &decoder{collector: &collector{doc: s.doc}, within: s, dump: true}
	if t := s.typ.Load(); t != nil {
		v := reflect.New(*t)
		d.value(s.node, v.Elem(), rules{}, s.path)
		if len(d.errs) == 0 {
			return dumpStruct(v.Elem())
		}
	}
	return dumpValue(reflect.ValueOf(d.raw(s.node)), rules{}, "")
}

// raw is the section as written: references to the environment stay such.
func (d *decoder) raw(n *node) any {
	if n == nil {
		return nil
	}
	switch n.kind {
	case mapNode:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			out[e.key] = d.raw(e.value)
		}
		return out
	case listNode:
		out := make([]any, len(n.items))
		for i, item := range n.items {
			out[i] = d.raw(item)
		}
		return out
	case nullNode:
		return nil
	}
	if n.style == quoted {
		return n.text
	}
	return infer(n.text)
}
