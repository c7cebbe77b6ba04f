package config

import (
	"fmt"
	"strconv"
	"strings"
)

// keyPath appends a map's key to a path. A key that would read as something
// else is quoted: services["a b"].
func keyPath(path, key string) string {
	if !simpleKey(key) {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func itemPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// joinPath appends a relative path.
func joinPath(path, rel string) string {
	if path == "" || rel == "" || rel[0] == '[' {
		return path + rel
	}
	return path + "." + rel
}

func simpleKey(key string) bool {
	for _, c := range key {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return key != ""
}

// locate walks from n along path and returns the position of the deepest part
// that exists: of the key for a map's entry, of the item in a list.
func (n *node) locate(path string) (line, col int) {
	line, col, _ = n.find(path)
	return line, col
}

// find is locate; whole says that all of the path exists.
func (n *node) find(path string) (line, col int, whole bool) {
	line, col = n.line, n.col
	for n != nil && path != "" {
		var next *node
		rest := ""
		if n.kind == listNode {
			if next, rest = n.item(path); next == nil {
				return line, col, false
			}
			line, col = next.line, next.col
		} else {
			var f *entry
			if f, rest = n.entryAt(path); f == nil {
				return line, col, false
			}
			next, line, col = f.value, f.line, f.col
		}
		n, path = next, rest
	}
	return line, col, path == ""
}

func (n *node) item(path string) (*node, string) {
	inner, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
	i, err := strconv.Atoi(inner)
	if !ok || err != nil || i < 0 || i >= len(n.items) {
		return nil, ""
	}
	return n.items[i], rest
}

// entryAt finds the longest key that path starts with, so that keys with dots
// are found whether they were quoted or not.
func (n *node) entryAt(path string) (*entry, string) {
	path = strings.TrimPrefix(path, ".")
	var best *entry
	var rest string
	for i := range n.entries {
		e := &n.entries[i]
		after, ok := strings.CutPrefix(path, "["+strconv.Quote(e.key)+"]")
		if !ok {
			after, ok = strings.CutPrefix(path, e.key)
		}
		if ok && (after == "" || after[0] == '.' || after[0] == '[') && (best == nil || len(e.key) > len(best.key)) {
			best, rest = e, after
		}
	}
	return best, rest
}
