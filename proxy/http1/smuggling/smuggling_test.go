package smuggling

import (
	"slices"
	"strings"
	"testing"
)

func TestEveryCaseIsNamedOnceAndSaysWhatIsExpected(t *testing.T) {
	seen, same := map[string]bool{}, map[string]Case{}
	refused := 0
	for _, c := range Cases() {
		if seen[c.Name] {
			t.Errorf("%q: the name is taken", c.Name)
		}
		seen[c.Name] = true
		// The lists overlap here and there; then they expect the same.
		if o, ok := same[c.Bytes]; ok && (o.Refuse != c.Refuse || o.Body != c.Body || o.Waits != c.Waits || !slices.Equal(o.Want, c.Want)) {
			t.Errorf("%q and %q are the same bytes and expect another outcome", c.Name, o.Name)
		}
		same[c.Bytes] = c
		if c.Refuse != 0 {
			refused++
		}
		switch {
		case c.Requests != len(c.Want), c.Body && c.Requests == 0, c.Waits && c.Refuse != 0, c.Refuse == 0 && c.Requests == 0 && !c.Waits, c.Refuse != 0 && c.Refuse < 400:
			t.Errorf("%q contradicts itself: %+v", c.Name, c)
		}
		for _, r := range c.Want {
			if strings.Contains(r.Target, Smuggled) {
				t.Errorf("%q expects what must never be seen", c.Name)
			}
		}
	}
	if n := len(seen); n < 800 || refused < 600 {
		t.Errorf("%d cases, %d refused", n, refused)
	}
	t.Logf("%d cases, %d refused", len(seen), refused)
}
