package exchange

import (
	"reflect"
	"testing"
	"time"
	"unsafe"
)

// Whatever strings a request has, its copy has memory of its own for them.
func TestADetachedCopyOutlivesItsConnection(t *testing.T) {
	var buffers [][]byte
	view := func(s string) string {
		b := []byte(s)
		buffers = append(buffers, b)
		return unsafe.String(&b[0], len(b))
	}
	x := &Exchange{ID: view("id"), Consumer: view("app"), Route: "r", Deadline: time.Now()}
	x.Original = Original{view("GET"), view("https"), view("host"), view("/o"), view("oq")}
	x.Request = Request{Method: view("GET"), Scheme: view("https"), Authority: view("host"), Target: view("/t"), Path: view("/p"),
		Query: view("q"), Proto: view("HTTP/1.1")}
	x.Request.Header.Add(view("A"), view("1"))
	x.Params = []Param{{view("name"), view("value")}}
	x.Trace.State, x.Trace.Memory = view("state"), view("memory")
	x.Identity = &Identity{Method: view("jwt"), Issuer: view("iss"), Subject: view("sub"), Roles: []string{view("role")}, Scope: []string{view("scope")}}
	x.Txn = &Txn{Token: view("token"), ID: view("txn"), Subject: view("sub"), Scope: view("s"), ReqWL: view("wl"), Minter: view("m"),
		Chain: []string{view("hop")}, Deadline: time.Now(), Retries: 2, Memory: view("mem")}
	y := x.Detached()
	want := &Exchange{Start: y.Start, ID: "id", Consumer: "app", Route: "r", Original: Original{"GET", "https", "host", "/o", "oq"},
		Request:  Request{Method: "GET", Scheme: "https", Authority: "host", Target: "/t", Path: "/p", Query: "q", Proto: "HTTP/1.1"},
		Params:   []Param{{"name", "value"}},
		Identity: &Identity{Method: "jwt", Issuer: "iss", Subject: "sub", Roles: []string{"role"}, Scope: []string{"scope"}},
		Txn:      &Txn{Token: "token", ID: "txn", Subject: "sub", Scope: "s", ReqWL: "wl", Minter: "m", Chain: []string{"hop"}, Retries: 2, Memory: "mem"}}
	want.Request.Header = Fields{list: []Field{{"A", "1"}}}
	want.Trace.State, want.Trace.Memory = "state", "memory"
	for _, b := range buffers {
		for i := range b {
			b[i] = '#'
		}
	}
	if !reflect.DeepEqual(y, want) {
		t.Errorf("got  %+v\nwant %+v", y, want)
	}
}
