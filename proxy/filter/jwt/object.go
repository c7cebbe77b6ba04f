package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a token's JSON.
const maxDepth = 16

// decodeObject reads exactly one JSON object, strictly: valid UTF-8, no member
// twice at any level (RFC 8725 section 2.4 and RFC 7519 section 4: which one
// counts would depend on the reader), nothing after it. Integers become int64,
// other numbers float64.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not valid JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := decodeValue(dec, maxDepth)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := tok.(type) {
	case json.Delim:
		if depth == 0 {
			return nil, fmt.Errorf("nested deeper than %d", maxDepth)
		}
		if t == '{' {
			return decodeMembers(dec, depth-1)
		}
		list := []any{}
		for dec.More() {
			v, err := decodeValue(dec, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	case json.Number:
		if i, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return i, nil
		}
		return t.Float64()
	default:
		return tok, nil
	}
}

func decodeMembers(dec *json.Decoder, depth int) (any, error) {
	m := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		if _, twice := m[name]; twice {
			return nil, errors.New("a member occurs twice")
		}
		if m[name], err = decodeValue(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return m, err
}

// text is the plain form of a string, number or boolean.
func text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// texts is a list's plain members; a single plain value is a list of one.
func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, m := range list {
		if s, ok := text(m); ok {
			out = append(out, s)
		}
	}
	return out
}

// words is like texts, but a string is split at spaces (RFC 6749 section 3.3).
func words(v any) []string {
	if s, ok := v.(string); ok {
		return strings.Fields(s)
	}
	return texts(v)
}

// latest is the last second of the year 9999: a date past it is nonsense.
const latest = 253402300799

// seconds reads a NumericDate (RFC 7519 section 2); ok is false when the claim
// is absent.
func seconds(claims map[string]any, name string) (at int64, ok bool, err error) {
	v, ok := claims[name]
	if !ok {
		return 0, false, nil
	}
	switch v := v.(type) {
	case int64:
		at = v
	case float64:
		if math.IsNaN(v) || v < 0 || v > latest {
			return 0, true, fmt.Errorf("%s is no sensible date", name)
		}
		at = int64(v)
	default:
		return 0, true, fmt.Errorf("%s is not a number", name)
	}
	if at < 0 || at > latest {
		return 0, true, fmt.Errorf("%s is no sensible date", name)
	}
	return at, true, nil
}
