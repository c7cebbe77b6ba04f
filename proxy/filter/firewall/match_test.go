package firewall

import (
	"io"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// TestShortcutsAgreeWithTheLists: length and outer bytes only save a look at the
// words themselves.
func TestShortcutsAgreeWithTheLists(t *testing.T) {
	patterns := DefaultNames()
	set, err := NewSet(patterns...)
	if err != nil {
		t.Fatal(err)
	}
	plainly := func(name string) bool {
		folded := foldString(name)
		for _, p := range patterns {
			start, many := strings.CutSuffix(p, "-*")
			start = foldString(start)
			if folded == start || many && strings.HasPrefix(folded, start+" ") {
				return true
			}
		}
		return folded == ""
	}
	for _, p := range patterns {
		start := strings.TrimSuffix(p, "-*")
		for _, name := range []string{start, start + "-", start + "-Id", start + "s", start + "_x.y", start[1:], "-" + start, "X-" + start,
			start[:len(start)-1], strings.ToUpper(start), strings.ReplaceAll(start, "-", "_"), strings.ReplaceAll(start, "-", "--"),
			strings.ReplaceAll(start, "-", ""), start[:len(start)-1] + "q"} {
			if got, want := set.Match(name), plainly(name); got != want {
				t.Errorf("%q: %v, want %v", name, got, want)
			}
		}
	}
}

// plainBody is neither in memory nor anybody's wrapper.
type plainBody struct{ io.Reader }

func (plainBody) Close() error { return nil }
func (plainBody) Ready() bool  { return true }
func (plainBody) Whole() bool  { return true }

// TestOnlyBodiesWithTrailersAreWatched: an HTTP/1.1 answer of known length is
// left to the engine as it is.
func TestOnlyBodiesWithTrailersAreWatched(t *testing.T) {
	for _, c := range []struct {
		proto   string
		length  int64
		watched bool
	}{{"HTTP/1.1", 3, false}, {"HTTP/1.0", 0, false}, {"HTTP/1.1", -1, true}, {"HTTP/2.0", 3, true}, {"HTTP/2.0", -1, true}, {"", 3, true}} {
		x := &exchange.Exchange{}
		x.Response.Proto, x.Response.Length, x.Response.Body = c.proto, c.length, plainBody{strings.NewReader("abc")}
		Default().CleanResponse(x)
		_, plain := x.Response.Body.(plainBody)
		if plain == c.watched {
			t.Errorf("%q with length %d: watched is %v", c.proto, c.length, !plain)
		}
		if !exchange.Ready(x.Response.Body) || !exchange.Whole(x.Response.Body) {
			t.Error("what the body knows is not passed on")
		}
	}
}
