package config

import (
	"encoding"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// expanded gives the text of a scalar with ${ENV} replaced. For a dump, text
// that cannot be is left as it stands.
func (d *decoder) expanded(n *node, r rules, path string) (expansion, bool) {
	if d.doc.sealed && strings.Contains(n.text, "${") {
		d.at(n, path, "no ${…} is expanded here: what refers to the environment belongs in the file, in a policy or service that this one names")
		return expansion{}, false
	}
	x, err := expand(n.text)
	if err != nil && d.dump {
		return expansion{text: n.text, env: true}, true
	}
	if err != nil {
		if r.unit == unitSecret && !strings.Contains(err.Error(), "is not set") {
			// The message would quote a part of the secret.
			err = errors.New("expected ${NAME}, ${NAME:-default} or $$ for a literal $")
		}
		d.at(n, path, "%s", err)
		return x, false
	}
	return x, true
}

// scalar decodes everything that is written as one word, number or text.
func (d *decoder) scalar(n *node, v reflect.Value, r rules, path string) {
	if r.unit == unitSecret {
		d.doc.addSecret(n)
	}
	if n.kind != scalarNode {
		hint := ""
		if n.kind == nullNode {
			hint = ": remove the key or give a value"
		}
		d.at(n, path, "expected %s, found %s%s", describe(v.Type(), r), n.kindName(), hint)
		return
	}
	x, ok := d.expanded(n, r, path)
	if !ok {
		return
	}
	s := scalar{decoder: d, node: n, expansion: x, rules: r, path: path}
	switch classOf(v.Type(), r) {
	case classString:
		s.str(v)
	case classBool:
		s.bool(v)
	case classInt, classUint, classFloat:
		s.number(v)
	case classDuration:
		s.duration(v)
	case classSize:
		s.size(v)
	case classText:
		s.unmarshalText(v)
	}
}

// scalar is one scalar on its way into a value.
type scalar struct {
	*decoder
	node *node
	expansion
	rules
	path string
}

// found quotes the value, unless it may be a secret.
func (s *scalar) found() string {
	switch {
	case s.unit == unitSecret:
		return "something else (not shown)"
	case s.env:
		return "the value of " + shown(s.node.text)
	case s.node.style == quoted || s.node.style == word:
		return shown(s.text)
	}
	return s.node.text
}

func (s *scalar) wrong(expected string) {
	s.at(s.node, s.path, "expected %s, found %s", expected, s.found())
}

// isQuoted reports a scalar that YAML types as a string whatever it holds.
func (s *scalar) isQuoted() bool { return s.node.style == quoted && !s.whole }

func (s *scalar) str(v reflect.Value) {
	text := s.text
	if s.unit == unitSecret {
		if s.decoder.doc.sealed && strings.HasPrefix(text, filePrefix) {
			s.at(s.node, s.path, "no secret is read from a file here: it belongs in the configuration file, in a policy that this one names")
			return
		}
		if path, ok := strings.CutPrefix(text, filePrefix); ok && !s.dump {
			secret, err := s.decoder.doc.readSecret(path)
			if err != nil {
				s.at(s.node, s.path, "%s", err)
				return
			}
			text = secret
		}
	}
	v.SetString(text)
	s.checkText(text)
}

// checkText applies enum and pattern. The value was set all the same, so that
// one wrong name does not make its references wrong too.
func (s *scalar) checkText(text string) {
	if len(s.enum) > 0 && !slices.Contains(s.enum, text) {
		hint := ""
		if n := nearest(text, s.enum); n != "" && s.unit != unitSecret && !s.env {
			hint = ": did you mean " + n + "?"
		}
		s.at(s.node, s.path, "expected one of %s, found %s%s", strings.Join(s.enum, ", "), s.found(), hint)
	}
	if s.pattern != "" && !regexp.MustCompile(s.pattern).MatchString(text) {
		s.wrong("text that matches " + s.pattern)
	}
}

func (s *scalar) bool(v reflect.Value) {
	switch s.text {
	case "true", "True", "TRUE":
		v.SetBool(true)
	case "false", "False", "FALSE":
		v.SetBool(false)
	default:
		s.wrong("true or false")
		return
	}
	if s.isQuoted() {
		s.at(s.node, s.path, "expected true or false, found the string %s: remove the quotes", s.found())
	}
}

func (s *scalar) number(v reflect.Value) {
	expected := describe(v.Type(), s.rules)
	var err error
	switch {
	case v.CanInt():
		var i int64
		if i, err = parseInt(s.text, v.Type().Bits()); err == nil {
			v.SetInt(i)
		}
	case v.CanUint():
		var i int64
		if i, err = parseInt(s.text, 64); err == nil && (i < 0 || v.OverflowUint(uint64(i))) {
			err = strconv.ErrRange
		}
		if err == nil {
			v.SetUint(uint64(i))
		}
	default:
		var f float64
		if f, err = strconv.ParseFloat(s.text, v.Type().Bits()); err == nil && (math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(s.text, "xXpP_")) {
			err = strconv.ErrSyntax
		}
		if err == nil {
			v.SetFloat(f)
		}
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		s.at(s.node, s.path, "expected %s that fits, found %s", expected, s.found())
	case err != nil:
		s.wrong(expected)
	case s.isQuoted():
		s.at(s.node, s.path, "expected %s, found the string %s: remove the quotes", expected, s.found())
	default:
		if len(s.enum) > 0 && !slices.Contains(s.enum, s.text) {
			s.wrong("one of " + strings.Join(s.enum, ", "))
		}
		s.inRange(numberOf(v), func(t string) float64 { f, _ := strconv.ParseFloat(t, 64); return f })
	}
}

func numberOf(v reflect.Value) float64 {
	switch {
	case v.CanInt():
		return float64(v.Int())
	case v.CanUint():
		return float64(v.Uint())
	}
	return v.Float()
}

// inRange checks min and max, whose text parse reads.
func (s *scalar) inRange(value float64, parse func(string) float64) {
	if s.min != "" && value < parse(s.min) || s.max != "" && value > parse(s.max) {
		s.wrong(rangeWords(s.min, s.max))
	}
}

func rangeWords(least, most string) string {
	switch {
	case least == "":
		return "at most " + most
	case most == "":
		return "at least " + least
	case least == most:
		return least
	}
	return least + " to " + most
}

// parseInt reads decimal, 0x, 0o and 0b. A leading 0 is refused: YAML 1.1 and
// 1.2 disagree about what it means.
func parseInt(s string, bits int) (int64, error) {
	if d := strings.TrimLeft(s, "+-"); len(d) > 1 && d[0] == '0' && d[1] >= '0' && d[1] <= '9' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(s, 0, bits)
}

func (s *scalar) duration(v reflect.Value) {
	dur, err := time.ParseDuration(s.text)
	if err != nil {
		hint := ""
		if s.node.style == number && !s.env {
			hint = ": add a unit (ms, s, m, h)"
		}
		s.at(s.node, s.path, "expected a duration like 5s, found %s%s", s.found(), hint)
		return
	}
	v.SetInt(int64(dur))
	if dur < 0 && s.min == "" {
		s.wrong("a duration of at least 0s")
		return
	}
	s.inRange(float64(dur), func(t string) float64 { d, _ := time.ParseDuration(t); return float64(d) })
}

func (s *scalar) size(v reflect.Value) {
	size, ok := parseSize(s.text)
	if !ok || v.OverflowInt(size) {
		s.wrong("a size like 64KiB, 10MB or 1024")
		return
	}
	v.SetInt(size)
	s.inRange(float64(size), func(t string) float64 { n, _ := parseSize(t); return float64(n) })
}

// unmarshalText decodes netip.Prefix and the like.
func (s *scalar) unmarshalText(v reflect.Value) {
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s.text)); err != nil {
		v.SetZero()
		expected := describeText(v.Type())
		// The type's own words help, but they usually quote the value.
		if _, known := textTypes()[v.Type()]; !known && s.unit != unitSecret && !s.env {
			s.at(s.node, s.path, "expected %s, found %s: %v", expected, s.found(), err)
			return
		}
		s.wrong(expected)
		return
	}
	s.checkText(s.text)
}

func textTypes() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[netip.Prefix]():   "an address range like 10.0.0.0/8",
		reflect.TypeFor[netip.Addr]():     "an IP address like 10.0.0.1",
		reflect.TypeFor[netip.AddrPort](): "an IP address and port like 10.0.0.1:80",
		reflect.TypeFor[time.Time]():      "a time like 2006-01-02T15:04:05Z",
	}
}

func describeText(t reflect.Type) string {
	if words, ok := textTypes()[t]; ok {
		return words
	}
	return "text for a " + t.Name()
}
