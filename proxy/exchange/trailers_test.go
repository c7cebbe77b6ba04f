package exchange

import "testing"

func TestListsAreLookedThrough(t *testing.T) {
	for _, c := range []struct {
		list, member string
		want         bool
	}{{"close, X-Hop", "x-hop", true}, {"X-Hop", "X-Hop", true}, {" ,\tX-Hop ,", "X-HOP", true}, {"X-Hop2, 2X-Hop", "X-Hop", false}, {"", "X-Hop", false}, {"a b", "b", false}} {
		if got := Lists(c.list, c.member); got != c.want {
			t.Errorf("%q lists %q: %v", c.list, c.member, got)
		}
	}
}

func TestNominatedFieldsGo(t *testing.T) {
	var f Fields
	f.Add("X-Sum", "1")
	f.Add("x-hop", "2")
	f.Add("X-HOP", "3")
	f.DropNominated("")
	if f.Len() != 3 {
		t.Errorf("without a Connection field %d are left", f.Len())
	}
	if f.DropNominated("close, X-Hop"); f.Len() != 1 || f.Get("X-Sum") != "1" {
		t.Errorf("%d are left", f.Len())
	}
}

func TestWhatMayTrail(t *testing.T) {
	for name, want := range map[string]bool{"X-Sum": true, "Grpc-Status": true, "Digest": true, "Content-Length": false, "content_type": false,
		"Transfer-Encoding": false, "HOST": false, "X-Forwarded-Anything": false, "If-Match": false, "Txn-Token": false, "X-Content-Sum": true} {
		if MayTrail(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
