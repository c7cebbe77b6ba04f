package pipe

import (
	"context"
	"strings"
	"testing"
)

func TestChallengesAreAnsweredBeforeAnythingIsRouted(t *testing.T) {
	k := newKit(t)
	asked := 0
	k.cfg.Challenge = func(host, path string) (string, bool) {
		asked++
		return "tok.print", host == "shop.example" && path == ChallengePath+"tok"
	}
	k.start()
	for _, c := range []struct {
		method, authority, path string
		status, asked           int
		journal                 string
	}{
		{"GET", "Shop.example:80", ChallengePath + "tok", 200, 1, "begin end"},
		{"GET", "shop.example", ChallengePath + "other", 404, 1, "begin always.req always.resp always.done end"},
		{"GET", "other.example", ChallengePath + "tok", 404, 1, "begin always.req always.resp always.done end"},
		{"POST", "shop.example", ChallengePath + "tok", 404, 0, "begin always.req always.resp always.done end"},
		{"GET", "shop.example", "/.well-known/other", 404, 0, "begin always.req always.resp always.done end"},
		{"GET", "no host", ChallengePath + "tok", 400, 0, "begin always.req always.resp always.done end"},
	} {
		asked = 0
		x := k.get(c.path)
		x.Request.Method, x.Request.Authority = c.method, c.authority
		waited := 0
		x.Waiter = func(ctx context.Context, wait func(context.Context) error) error { waited++; return wait(ctx) }
		k.pipe.Serve(x)
		got := x.Response.Status
		if got == 200 && (x.Response.Length != int64(len("tok.print")) || x.Response.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %d bytes, %s", c.path, x.Response.Length, x.Response.Header.Get("Cache-Control"))
		}
		k.finish(x)
		// always.fault is told in between where there is a fault.
		if j := strings.Replace(k.j.take(), "always.fault ", "", 1); got != c.status || asked != c.asked || waited != asked || j != c.journal {
			t.Errorf("%s %s%s: %d, asked %d (waited %d), %s; want %d, %d, %s", c.method, c.authority, c.path, got, asked, waited, j, c.status, c.asked, c.journal)
		}
	}
}
