package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

const (
	unitBytes  = "bytes"
	unitSecret = "secret"
)

// rules are what a field's tags say about its value.
type rules struct {
	doc, def, example  string
	hasDefault         bool
	required, listify  bool
	enum               []string
	unit, min, max     string
	pattern, shortName string
	local              string // the value that no snippet may have; "*": any
}

// fieldInfo is one settable field of a struct.
type fieldInfo struct {
	name  string // key in YAML
	index []int
	typ   reflect.Type
	rules
}

// fieldsOf lists what can be set in a struct, in declared order.
func fieldsOf(t reflect.Type) []fieldInfo {
	var out []fieldInfo
	for i := range t.NumField() {
		f := t.Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && option == "inline" && f.Type.Kind() == reflect.Struct {
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		out = append(out, fieldInfo{name: name, index: []int{i}, typ: f.Type, rules: rulesOf(f.Tag)})
	}
	return out
}

func rulesOf(tag reflect.StructTag) rules {
	r := rules{
		doc: tag.Get("doc"), example: tag.Get("example"), unit: tag.Get("unit"),
		min: tag.Get("min"), max: tag.Get("max"), pattern: tag.Get("pattern"),
		required: tag.Get("required") == "true", listify: tag.Get("listify") == "true",
		shortName: tag.Get("short"), local: tag.Get("local"),
	}
	r.def, r.hasDefault = tag.Lookup("default")
	if e := tag.Get("enum"); e != "" {
		r.enum = strings.Split(e, ",")
	}
	return r
}

// element is what remains of the rules of a list or map for its elements.
func (r rules) element() rules {
	r.required, r.listify, r.hasDefault, r.def, r.example, r.local = false, false, false, "", "", ""
	return r
}

var (
	durationType  = reflect.TypeFor[time.Duration]()
	filterType    = reflect.TypeFor[Filter]()
	textType      = reflect.TypeFor[encoding.TextUnmarshaler]()
	shortFielder  = reflect.TypeFor[interface{ ShortField() string }]()
	validatorType = reflect.TypeFor[Validator]()
	sectionType   = reflect.TypeFor[*Section]()
	holderType    = reflect.TypeFor[filterHolder]()
)

// filterHolder is a type of another package that holds a filter as Filter does, for
// filters within a filter's own section.
type filterHolder interface {
	SetFilter(kind string, section interface {
		Decode(into any) error
		Pos(path string) string
	})
	Filter() (kind string, section any)
}

// class is how a type is written, the one distinction that decoding, schema,
// reference and dump share.
type class uint8

const (
	classUnknown class = iota
	classString
	classBool
	classInt
	classUint
	classFloat
	classDuration
	classSize
	classText // encoding.TextUnmarshaler
	classList
	classMap
	classStruct
	classFilter
	classAny
)

func classOf(t reflect.Type, r rules) class {
	if t == durationType {
		return classDuration
	}
	if t == filterType || t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(holderType) {
		return classFilter
	}
	if t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(textType) {
		return classText
	}
	switch t.Kind() {
	case reflect.String:
		return classString
	case reflect.Bool:
		return classBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if r.unit == unitBytes {
			return classSize
		}
		return classInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return classUint
	case reflect.Float32, reflect.Float64:
		return classFloat
	case reflect.Slice:
		return classList
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return classMap
		}
	case reflect.Struct:
		return classStruct
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return classAny
		}
	}
	return classUnknown
}

// shortField finds the field that a scalar or list sets in place of the map.
func shortField(t reflect.Type, r rules) (fieldInfo, bool) {
	name := r.shortName
	if name == "" && reflect.PointerTo(t).Implements(shortFielder) {
		name = reflect.New(t).Interface().(interface{ ShortField() string }).ShortField()
	}
	if name == "" {
		return fieldInfo{}, false
	}
	sf, ok := t.FieldByName(name)
	if !ok {
		panic(fmt.Sprintf("config: %s has no field %s for its short form", t, name))
	}
	for _, f := range fieldsOf(t) {
		if fmt.Sprint(f.index) == fmt.Sprint(sf.Index) {
			return f, true
		}
	}
	panic(fmt.Sprintf("config: field %s of %s cannot be set", name, t))
}
