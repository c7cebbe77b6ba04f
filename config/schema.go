package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// envPattern is what a reference to the environment looks like; any scalar may
// be one, whatever its type.
const envPattern = `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`

const durationPattern = `^\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^0$`

// Schema is the JSON Schema (draft 2020-12) of a configuration file. filters
// maps each kind to a pointer to its config struct, docs to its sentence.
func Schema(filters map[string]any, docs map[string]string) ([]byte, error) {
	return schemaOf(reflect.TypeFor[Snapshot](), filters, docs)
}

// schemaOf is Schema with any root.
func schemaOf(root reflect.Type, filters map[string]any, docs map[string]string) (out []byte, err error) {
	s := schema{defs: object{}, names: map[reflect.Type]string{}}
	s.defs["env"] = object{"type": "string", "pattern": "^" + envPattern + "$", "description": "An environment variable."}
	if s.defs["filter"], err = s.filters(filters, docs); err != nil {
		return nil, err
	}
	doc := s.structure(root)
	doc["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	doc["title"] = "Lintel configuration"
	doc["$defs"] = s.defs
	out, err = json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("config: schema: %w", err)
	}
	return append(out, '\n'), nil
}

type object = map[string]any

type schema struct {
	defs  object
	names map[reflect.Type]string // definitions by type
}

// ref defines a struct type once and refers to it, so that types may contain
// themselves.
func (s *schema) ref(t reflect.Type) object {
	name, ok := s.names[t]
	if !ok {
		name = s.free(t)
		s.names[t] = name
		s.defs[name] = object{} // taken
		s.defs[name] = s.structure(t)
	}
	return object{"$ref": "#/$defs/" + name}
}

// free is a name for t that no other type has: filters of several packages
// call their struct Config.
func (s *schema) free(t reflect.Type) string {
	base := t.Name()
	if base == "" {
		base = "anonymous"
	}
	name := base
	if _, taken := s.defs[name]; taken {
		base = path.Base(t.PkgPath()) + "." + base
		name = base
	}
	for i := 2; ; i++ {
		if _, taken := s.defs[name]; !taken {
			return name
		}
		name = base + strconv.Itoa(i)
	}
}

func (s *schema) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		p := s.value(f.typ, f.rules)
		describeProperty(p, f)
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// describeProperty adds what is only told, not checked.
func describeProperty(p object, f fieldInfo) {
	doc := f.doc
	if c := classOf(f.typ, f.rules); (c == classDuration || c == classSize) && f.min+f.max != "" {
		doc += " (" + rangeWords(f.min, f.max) + ")"
	}
	if f.unit == unitSecret {
		doc += " A secret: file:/path reads a file."
		p["writeOnly"] = true
	}
	if doc = strings.TrimSpace(doc); doc != "" {
		p["description"] = doc
	}
	if f.hasDefault {
		p["default"] = tagValue(f.typ, f.rules, f.def)
	}
	if f.example != "" {
		p["examples"] = []any{tagValue(f.typ, f.rules, f.example)}
	}
}

// tagValue is the text of a tag as the JSON value it stands for.
func tagValue(t reflect.Type, r rules, text string) any {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch classOf(t, r) {
	case classString, classText, classDuration:
		return text
	}
	n := parseTag(text)
	d := &decoder{collector: &collector{doc: &document{}}, dump: true}
	return d.free(n, "")
}

// value is the schema of one value.
func (s *schema) value(t reflect.Type, r rules) object {
	if t.Kind() == reflect.Pointer {
		return s.value(t.Elem(), r)
	}
	switch classOf(t, r) {
	case classString:
		return s.text(r)
	case classBool:
		return orEnv(object{"type": "boolean"})
	case classInt, classUint, classFloat:
		return orEnv(s.number(t, r))
	case classDuration:
		p := durationPattern
		if strings.HasPrefix(r.min, "-") {
			p = strings.Replace(p, `\+`, `[+-]`, 1)
		}
		return anyOf(object{"type": "string", "pattern": p + "|" + envPattern}, object{"const": 0})
	case classSize:
		return anyOf(
			object{"type": "string", "pattern": sizePattern + "|" + envPattern},
			object{"type": "integer", "minimum": 0},
		)
	case classText:
		return object{"type": "string"}
	case classList:
		item := s.value(t.Elem(), r.element())
		list := object{"type": []string{"array", "null"}, "items": item}
		if r.required {
			list["type"], list["minItems"] = "array", 1
		}
		if r.listify {
			return anyOf(list, item)
		}
		return list
	case classMap:
		m := object{"type": []string{"object", "null"}, "additionalProperties": s.value(t.Elem(), r.element())}
		if r.required {
			m["type"], m["minProperties"] = "object", 1
		}
		return m
	case classStruct:
		if short, ok := shortField(t, r); ok && !othersRequired(t, short) {
			return anyOf(s.ref(t), s.value(short.typ, short.rules))
		}
		return s.ref(t)
	case classFilter:
		return object{"$ref": "#/$defs/filter"}
	}
	return object{}
}

func othersRequired(t reflect.Type, short fieldInfo) bool {
	return slices.ContainsFunc(fieldsOf(t), func(f fieldInfo) bool { return f.required && f.name != short.name })
}

// text is the schema of a string. Numbers and bools are strings too where one
// is expected: X-Version: 2.
func (s *schema) text(r rules) object {
	o := object{"type": []string{"string", "number", "boolean"}}
	if r.required {
		o["minLength"] = 1
	}
	if r.pattern != "" {
		o["pattern"] = "(?:" + r.pattern + ")|" + envPattern
	}
	if len(r.enum) > 0 {
		return orEnv(object{"enum": enumValues(r.enum, true)})
	}
	return o
}

func (s *schema) number(t reflect.Type, r rules) object {
	o := object{"type": "integer"}
	if t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 {
		o["type"] = "number"
	} else if strings.HasPrefix(t.Kind().String(), "uint") {
		o["minimum"] = 0
	}
	if f, err := strconv.ParseFloat(r.min, 64); err == nil {
		o["minimum"] = f
	}
	if f, err := strconv.ParseFloat(r.max, 64); err == nil {
		o["maximum"] = f
	}
	if len(r.enum) > 0 {
		o["enum"] = enumValues(r.enum, false)
	}
	return o
}

// enumValues lists the words, and those that YAML reads as numbers or bools
// also as such.
func enumValues(words []string, text bool) []any {
	var out []any
	for _, w := range words {
		v := infer(w)
		if _, isText := v.(string); text || isText {
			out = append(out, w)
		}
		if _, isText := v.(string); !isText {
			out = append(out, v)
		}
	}
	return out
}

func orEnv(o object) object { return anyOf(o, object{"$ref": "#/$defs/env"}) }

func anyOf(options ...object) object { return object{"anyOf": options} }

// filters is the schema of a filter: its name, or a map with that one key.
func (s *schema) filters(kinds map[string]any, docs map[string]string) (object, error) {
	if len(kinds) == 0 {
		return object{"anyOf": []object{
			{"type": "string", "minLength": 1},
			{"type": "object", "minProperties": 1, "maxProperties": 1},
		}}, nil
	}
	options := []object{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t := reflect.TypeOf(kinds[kind])
		if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
			return nil, fmt.Errorf("config: schema: the config of filter %s is no pointer to a struct but %T", kind, kinds[kind])
		}
		body := s.value(t, rules{})
		if !slices.ContainsFunc(fieldsOf(t.Elem()), func(f fieldInfo) bool { return f.required }) {
			options = append(options, object{"const": kind, "description": docs[kind]})
			body = anyOf(body, object{"type": "null"})
		}
		body["description"] = docs[kind]
		options = append(options, object{
			"type": "object", "required": []string{kind}, "additionalProperties": false,
			"properties": object{kind: body},
		})
	}
	options = append(options, object{"type": "string", "pattern": envPattern})
	return object{"oneOf": options}, nil
}
