package txntoken

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Strict: a segment has exactly one spelling, so that a token has one too.
var b64 = base64.RawURLEncoding.Strict()

// split cuts a compact JWS (RFC 7515 section 7.1) into its three parts. Every
// character is checked, since Go's base64 skips line breaks.
func split(token string) (header, payload, sig string, err error) {
	var dot [2]int
	n := 0
	for i := 0; i < len(token); i++ {
		switch c := token[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.':
			if n == 2 {
				return "", "", "", errors.New("expected three parts, found more")
			}
			dot[n] = i
			n++
		default:
			return "", "", "", fmt.Errorf("character %q at %d is not of base64url", c, i)
		}
	}
	if n != 2 {
		return "", "", "", fmt.Errorf("expected three parts, found %d", n+1)
	}
	header, payload, sig = token[:dot[0]], token[dot[0]+1:dot[1]], token[dot[1]+1:]
	if header == "" || payload == "" || sig == "" {
		return "", "", "", errors.New("expected three parts, one is empty")
	}
	return header, payload, sig, nil
}

// decodeObject decodes one JSON object so that every reader of it reads the
// same: a name given twice (at any depth), invalid UTF-8 and anything after the
// object are errors, and names are compared exactly, where encoding/json's
// structs would fold case. Numbers at the top stay json.Number; deeper ones
// become float64.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	return object(dec, 0)
}

func object(dec *json.Decoder, depth int) (map[string]any, error) {
	m := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errors.New("a member without a name")
		}
		if _, dup := m[name]; dup {
			return nil, fmt.Errorf("member %.40q stands there twice", name)
		}
		if m[name], err = value(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token() // the closing brace; json.Valid has seen it
	return m, err
}

func value(dec *json.Decoder, depth int) (any, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return object(dec, depth+1)
		}
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	case json.Number:
		if depth == 0 {
			return t, nil
		}
		f, err := t.Float64()
		if err != nil {
			return nil, fmt.Errorf("number %.40q is out of range", string(t))
		}
		return f, nil
	}
	return t, nil
}

// clean reports whether s may stand in a header line and is one string to
// every reader: valid UTF-8 without control characters.
func clean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || 0x7f <= r && r < 0xa0 })
}
