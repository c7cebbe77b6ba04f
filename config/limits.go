package config

import (
	"github.com/goccy/go-yaml/token"
)

// limits on the shape of a file, well beyond any real one, so that a broken
// or hostile one cannot exhaust memory, the stack or (the parser takes time
// by the square of a map's keys) the processor.
const (
	maxFileSize   = 4 << 20 // bytes
	maxDepth      = 64
	maxStructural = 400_000     // commas, colons, brackets, line ends
	maxKeyPairs   = 100_000_000 // sum over maps of half the square of their keys
)

// checkSize refuses text that would make too many tokens, before any is made.
func checkSize(c *collector, src string) bool {
	if len(src) > maxFileSize {
		c.add(0, 0, "", "larger than %d MiB", maxFileSize>>20)
		return false
	}
	count := 0
	for i := range len(src) {
		switch src[i] {
		case '\n', ',', ':', '[', ']', '{', '}', '-', '?', '&', '*', '!', '#', '"', '\'', '|', '>':
			count++
		}
	}
	if count > maxStructural {
		c.add(0, 0, "", "more than %d separators and line ends: too large to be a configuration", maxStructural)
		return false
	}
	return true
}

// checkTokens refuses nesting and maps that would exhaust the parser, which
// recurses for each.
func checkTokens(c *collector, tokens token.Tokens) bool {
	flow, dashes, dashLine, pairs := 0, 0, 0, 0
	keys := map[int]int{} // by column of the key, since a key further left
	columns := []int{}    // ascending
	for _, t := range tokens {
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			if t.Position.Line != dashLine {
				dashes, dashLine = 0, t.Position.Line
			}
			dashes++
		case token.MappingValueType:
			col := 0
			if flow == 0 && t.Prev != nil {
				col = t.Prev.Position.Column
			}
			for len(columns) > 0 && columns[len(columns)-1] > col {
				delete(keys, columns[len(columns)-1])
				columns = columns[:len(columns)-1]
			}
			if len(columns) == 0 || columns[len(columns)-1] < col {
				columns = append(columns, col)
			}
			keys[col]++
			pairs += keys[col]
		}
		if flow > maxDepth || dashes > maxDepth || len(columns) > maxDepth {
			c.add(t.Position.Line, t.Position.Column, "", "nested more than %d deep", maxDepth)
			return false
		}
		if pairs > maxKeyPairs {
			c.add(t.Position.Line, t.Position.Column, "", "too many keys in one map")
			return false
		}
	}
	return true
}
