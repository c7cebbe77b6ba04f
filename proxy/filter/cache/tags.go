package cache

import (
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// An answer carries this many tags at most, each of so many bytes. One with more
// is not stored: a purge would not find it.
const (
	maxTags = 256
	maxTag  = 1024
)

// tagged reports whether a field of that name lists tags.
func (f *cache) tagged(name string) bool {
	return slices.ContainsFunc(f.Tags, func(n string) bool { return is(n, name) })
}

// tagsOf lists an answer's tags, each once. Some fields separate them by spaces,
// others by commas; a tag has neither.
func (f *cache) tagsOf(h *exchange.Fields) (tags []string, ok bool) {
	for name, value := range h.All() {
		if !f.tagged(name) {
			continue
		}
		for tag := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == ' ' || c == ',' || c == '\t' }) {
			if slices.Contains(tags, tag) {
				continue
			}
			if len(tags) == maxTags || len(tag) > maxTag {
				return nil, false
			}
			tags = append(tags, strings.Clone(tag))
		}
	}
	return tags, true
}

// untag takes the tags off an answer on its way to the client.
func (f *cache) untag(h *exchange.Fields) {
	if !f.KeepTags {
		h.Filter(func(name, _ string) bool { return !f.tagged(name) })
	}
}
