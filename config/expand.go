package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// maxExpanded bounds a scalar after expansion, in bytes.
const maxExpanded = 1 << 20

// expansion is a scalar whose ${NAME} references were replaced.
type expansion struct {
	text  string
	whole bool // the scalar was one reference and nothing else
	env   bool // part of the text came from the environment: never show it
}

// expand replaces ${NAME} and ${NAME:-default}; $$ stands for $. Values are
// not expanded again. As in a shell, the default also replaces an empty value.
func expand(s string) (expansion, error) {
	if !strings.Contains(s, "$") {
		return expansion{text: s}, nil
	}
	var out strings.Builder
	var x expansion
	rest := s
	for {
		i := strings.IndexByte(rest, '$')
		if i < 0 || i == len(rest)-1 {
			out.WriteString(rest)
			break
		}
		out.WriteString(rest[:i])
		switch rest[i+1] {
		case '$':
			out.WriteByte('$')
			rest = rest[i+2:]
			continue
		case '{':
		default:
			out.WriteByte('$')
			rest = rest[i+1:]
			continue
		}
		inner, after, ok := strings.Cut(rest[i+2:], "}")
		if !ok {
			return x, errors.New("found ${ without }: close it, or write $${ for a literal ${")
		}
		value, err := lookup(inner)
		if err != nil {
			return x, err
		}
		out.WriteString(value)
		x.env = true
		x.whole = i == 0 && len(rest) == len(s) && after == ""
		rest = after
		if out.Len() > maxExpanded {
			return x, fmt.Errorf("longer than %d bytes after ${…} was replaced", maxExpanded)
		}
	}
	x.text = out.String()
	return x, nil
}

func lookup(ref string) (string, error) {
	name, def, hasDefault := strings.Cut(ref, ":-")
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(name) {
		return "", fmt.Errorf("expected ${NAME} or ${NAME:-default}, found ${%s}: write $${ for a literal ${", clip(name))
	}
	value, set := os.LookupEnv(name)
	if hasDefault && value == "" {
		return def, nil
	}
	if !set {
		return "", fmt.Errorf("environment variable %s is not set: set it, or write ${%s:-default}", name, name)
	}
	return value, nil
}

func clip(s string) string {
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "…"
	}
	return s
}
