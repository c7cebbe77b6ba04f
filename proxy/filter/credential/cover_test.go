package credential

import "testing"

func TestAPlaceCoversAnother(t *testing.T) {
	bearer := Place{Header: "Authorization", Prefix: "Bearer"}
	for _, c := range []struct {
		p, o Place
		want bool
	}{
		{bearer, bearer, true},
		{bearer, Place{Header: "authorization", Prefix: "bearer"}, true},
		{bearer, Place{Header: "Authorization", Prefix: "ApiKey"}, false},
		{Place{Header: "Authorization"}, bearer, true},
		{bearer, Place{Header: "Authorization"}, false},
		{Place{Header: "X-A", Prefix: "Bearer", Bare: true}, Place{Header: "X_A", Prefix: "Bearer"}, true},
		{Place{Header: "X-A", Prefix: "Bearer"}, Place{Header: "X-A", Prefix: "Bearer", Bare: true}, false},
		{bearer, Place{Header: "Authorization", Prefix: "Bearer", Cookie: "c"}, false},
		{Place{Header: "Authorization", Prefix: "Bearer", Cookie: "c"}, bearer, true},
		{Place{Cookie: "c"}, Place{Cookie: "c"}, true},
		{Place{Query: "q"}, Place{Query: "r"}, false},
		{bearer, Place{}, false},
	} {
		if got := c.p.Covers(&c.o); got != c.want {
			t.Errorf("%s covers %s: %v", c.p.String(), c.o.String(), got)
		}
	}
}
