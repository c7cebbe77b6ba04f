package consumer

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// attribute is one AttributeTypeAndValue of a name (RFC 5280 section 4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type attributeSET []attribute

// shortNames are the types that are written by name: those of RFC 4514 section
// 3, and the two others that certificates commonly have, as OpenSSL calls them.
var shortNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.6": "C", "2.5.4.9": "STREET",
	"0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
	"2.5.4.5": "serialNumber", "1.2.840.113549.1.9.1": "emailAddress",
}

// FormatDN writes a DER-encoded name as RFC 4514 has it, the last part first.
// Every name has one spelling, so names are compared as strings: nothing is
// reordered, folded or left out.
func FormatDN(der []byte) (string, error) {
	var rdns []attributeSET
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return "", errors.New("not a distinguished name")
	}
	var b strings.Builder
	for i, rdn := range slices.Backward(rdns) {
		if i < len(rdns)-1 {
			b.WriteByte(',')
		}
		for j, a := range rdn {
			if j > 0 {
				b.WriteByte('+')
			}
			writeAttribute(&b, a)
		}
	}
	return b.String(), nil
}

// writeAttribute writes values that are no text, and those of types without a
// name, as #hex of their encoding (RFC 4514 section 2.4).
func writeAttribute(b *strings.Builder, a attribute) {
	oid := a.Type.String()
	name, known := shortNames[oid]
	if !known {
		name = oid
	}
	b.WriteString(name)
	b.WriteByte('=')
	if text, ok := textOf(a.Value); known && ok {
		b.WriteString(escapeDN(text))
		return
	}
	b.WriteByte('#')
	b.WriteString(hex.EncodeToString(a.Value.FullBytes))
}

func textOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		return string(v.Bytes), utf8.Valid(v.Bytes)
	}
	return "", false
}

// escapeDN escapes what RFC 4514 section 2.4 says must be, and control
// characters, as pairs of hex digits.
func escapeDN(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte(`"+,;<>\`, c) >= 0, c == ' ' && (i == 0 || i == len(s)-1), c == '#' && i == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ParseDN reads a name as an operator writes it, in the form of RFC 4514 (as
// `openssl x509 -subject -nameopt RFC2253` prints it), and returns the spelling
// that FormatDN has.
func ParseDN(s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return "", errors.New("begins with a slash: want it as openssl x509 -noout -subject -nameopt RFC2253 prints it, CN=client,O=Example")
	}
	var out strings.Builder
	for rest := s; ; {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return "", fmt.Errorf("want parts such as CN=client separated by commas, found %q", rest)
		}
		known, err := typeName(strings.TrimSpace(name))
		if err != nil {
			return "", err
		}
		value, end, err := readValue(strings.TrimLeft(after, " "))
		if err != nil {
			return "", err
		}
		out.WriteString(known + "=" + value)
		if end == "" {
			return out.String(), nil
		}
		out.WriteByte(end[0])
		rest = end[1:]
	}
}

func typeName(s string) (string, error) {
	for oid, name := range shortNames {
		if strings.EqualFold(s, name) || s == oid {
			return name, nil
		}
	}
	if s != "" && strings.Trim(s, "0123456789.") == "" {
		return s, nil
	}
	return "", fmt.Errorf("%q is no type of a distinguished name that is known here: want CN, O, OU, C, L, ST, STREET, DC, UID, serialNumber, emailAddress or a number such as 2.5.4.12", s)
}

// readValue reads up to a separator that is not escaped; end begins with it.
func readValue(s string) (value, end string, err error) {
	if strings.HasPrefix(s, "#") {
		i := strings.IndexAny(s, ",+")
		if i < 0 {
			i = len(s)
		}
		text := strings.ToLower(strings.TrimSpace(s[:i]))
		if b, err := hex.DecodeString(text[1:]); err != nil || len(b) == 0 {
			return "", "", fmt.Errorf("%q is no # with hex digits; write \\# for the character", text)
		}
		return text, s[i:], nil
	}
	var b []byte
	solid := 0 // bytes that white space at the end cannot be taken from
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case ',', '+':
			return escapeDN(string(trimEnd(b, solid))), s[i:], nil
		case '"', ';', '<', '>':
			return "", "", fmt.Errorf("%q must be escaped with a backslash", string(c))
		case '\\':
			n, read := unescape(s[i+1:])
			if n == 0 {
				return "", "", errors.New(`a backslash escapes one of ,+"\<>;=# or space, or stands before two hex digits`)
			}
			b = append(b, read)
			i += n
			solid = len(b)
		default:
			b = append(b, c)
		}
	}
	return escapeDN(string(trimEnd(b, solid))), "", nil
}

func trimEnd(b []byte, solid int) []byte {
	for len(b) > solid && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// unescape reads what follows a backslash, and how many bytes it takes.
func unescape(s string) (n int, c byte) {
	if s == "" {
		return 0, 0
	}
	if strings.IndexByte(`,+"\<>;=# `, s[0]) >= 0 {
		return 1, s[0]
	}
	if len(s) >= 2 {
		if b, err := hex.DecodeString(s[:2]); err == nil {
			return 2, b[0]
		}
	}
	return 0, 0
}
