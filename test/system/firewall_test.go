package system

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// forged is in every value that must not arrive.
const forged = "forged-by-mallory"

// disguises are spellings of X-User-Id and its kin that some server takes for
// the same header.
var disguises = []string{
	"X-User-Id", "x-user-id", "X-USER-ID", "x_user_id", "X_User_Id", "X-User_Id", "X.User.Id", "X-User.Id", "x_user-ID",
	"X-User-Roles", "x_user_roles", "X.User.Roles", "X-User-Scope", "X-Lintel-Txn", "X-Lintel-Chain", "x_lintel_chain",
	"Txn-Token", "txn_token", "Txn.Token", "Hop-Token", "hop_token", "X-Forwarded-User", "Remote-User", "Remote_User",
	"X-Consumer-Id", "X-Forwarded-Client-Cert", "X-Original-URL", "X--User--Id", "X-User-Id-", "-X-User-Id",
}

func TestForgedIdentityNeverReachesAnApp(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	leaks(c.Orders.App)
	leaks(c.Inventory.App)
	token := c.Token(nil)

	raw := func(t *testing.T, path, head, body string) kit.Echo {
		t.Helper()
		as := exchangeRaw(t, c.Edge, "GET "+path+" HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n"+head+"\r\n"+body)
		if len(as) != 1 {
			t.Fatalf("%d answers, want 1", len(as))
		}
		return echo(t, as[0])
	}
	check := func(t *testing.T, e kit.Echo, user string) {
		t.Helper()
		if all := fmt.Sprint(e); strings.Contains(all, forged) {
			t.Errorf("%s was told: %s", e.App, all)
		}
		if got := e.Header.Values("X-User-Id"); len(got) > 1 || strings.Join(got, "") != user {
			t.Errorf("%s was told the user is %q, want %q", e.App, got, user)
		}
	}

	for _, name := range disguises {
		t.Run("as "+name, func(t *testing.T) {
			head := name + ": " + forged + "\r\n" + name + ": " + forged + "2\r\n"
			e := raw(t, "/orders/call?service=inventory&path=/x", head, "")
			check(t, e, "ada")
			check(t, e.Second(t), "ada")
			check(t, raw(t, "/open/x", head, ""), "")
		})
	}
	t.Run("nominated by Connection", func(t *testing.T) {
		// What the gateway itself adds must not be dropped as hop-by-hop either.
		e := raw(t, "/orders/x", "Connection: X-User-Id, x_user_id, Txn-Token, Hop-Token, Traceparent, X-Lintel-Txn, X-Forwarded-For, X-Request-ID\r\nX-User-Id: "+forged+"\r\nx_user_id: "+forged+"\r\n", "")
		check(t, e, "ada")
		if e.Header.Get("Traceparent") == "" || e.Header.Get("X-Lintel-Txn") == "" || e.Header.Get("Txn-Token") == "" ||
			e.Header.Get("X-Forwarded-For") == "" || e.Header.Get("X-Request-Id") == "" {
			t.Errorf("Connection took what the mesh adds: %v", e.Header)
		}
	})
	t.Run("in trailers", func(t *testing.T) {
		head := "Transfer-Encoding: chunked\r\nTrailer: X-User-Id, X-Checksum\r\n"
		body := "3\r\nabc\r\n0\r\nX-User-Id: " + forged + "\r\nx_user_id: " + forged + "\r\nTxn-Token: " + forged + "\r\nX-Checksum: 900150983cd24fb0\r\n\r\n"
		e := raw(t, "/orders/x", head, body)
		check(t, e, "ada")
		if e.Body != "abc" || e.Trailer.Get("X-Checksum") != "900150983cd24fb0" {
			t.Errorf("body %q, trailers %v: an honest trailer must arrive", e.Body, e.Trailer)
		}
	})
	t.Run("as a member of tracestate", func(t *testing.T) {
		head := "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: lintel=" + forged + ",other=1\r\n"
		check(t, raw(t, "/open/x", head, ""), "")
		check(t, raw(t, "/open/call?service=inventory&path=/x", head, "").Second(t), "")
	})
	t.Run("as the client's address", func(t *testing.T) {
		head := "X-Forwarded-For: 6.6.6.6, " + forged + "\r\nForwarded: for=" + forged + "\r\nX-Real-IP: " + forged + "\r\nX-Forwarded-Host: " + forged + "\r\nX-Forwarded-Proto: " + forged + "\r\nX_Forwarded_For: " + forged + "\r\nx.real.ip: " + forged + "\r\n"
		e := raw(t, "/orders/x", head, "")
		check(t, e, "ada")
		if got := e.Header.Values("X-Forwarded-For"); len(got) != 1 || got[0] != "127.0.0.1" {
			t.Errorf("X-Forwarded-For %q, want the connection's address alone", got)
		}
	})
	t.Run("by an app towards the next service", func(t *testing.T) {
		for _, name := range []string{"X-User-Id", "x_user_id", "X-Lintel-Chain", "Txn-Token", "Hop-Token"} {
			for with, user := range map[string]string{"trace": "ada", "nothing": ""} {
				h := "&h-" + name + "=" + forged
				e := echo(t, fetch(t, c, "GET", "/orders/call?service=inventory&path=/x&with="+with+h, token, nil, nil))
				if e.Status != http.StatusOK {
					t.Fatalf("%s with %s: inventory's sidecar answered %d: %s", name, with, e.Status, e.Next)
				}
				check(t, e.Second(t), user)
			}
		}
	})
	t.Run("by a mesh peer without tokens", func(t *testing.T) {
		m := join(t, c.CADir, "ingress").dial(t, c.Orders)
		h := http.Header{"X-User-Id": {forged}, "X_user_id": {forged}, "X.user.roles": {forged}, "X-Lintel-Txn": {forged}, "X-Lintel-Chain": {forged}}
		check(t, echo(t, m.ask("GET", "/x", h)), "")
	})
	t.Run("token headers never get back to a client", func(t *testing.T) {
		for way, path := range ways("/leak") {
			if strings.Contains(path, "relay") {
				continue // the relaying app is of this test, not of Lintel
			}
			neverBack(t, way, c.Edge, path, "Host: edge.test\r\n")
		}
		neverBack(t, "from the next service to the app", c.Orders.App.Outbound, "/leak", "Host: inventory\r\n")
	})
}

// leaks makes an app answer with the tokens it was given, everywhere an answer
// has fields.
func leaks(a *kit.App) {
	a.Extra["/leak"] = func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Txn-Token", forged)
		h.Set("txn_token", forged)
		h.Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h["Hop-Token"], h["hop_token"] = []string{forged, forged}, []string{forged}
		h.Set("Trailer", "Txn-Token, X-Checksum")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "leaked")
		h.Set("Txn-Token", forged)
		h.Set("X-Checksum", "1")
		h.Set(http.TrailerPrefix+"Hop-Token", forged)
	}
}

// neverBack looks at every byte of the answer, the interim ones and trailers
// included.
func neverBack(t *testing.T, way, addr, path, host string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\n"+host+"TE: trailers\r\nConnection: close, TE\r\n\r\n")
	b, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "leaked") {
		t.Errorf("%s: no answer of the app: %s", way, b)
	}
	if strings.Contains(string(b), forged) {
		t.Errorf("%s: a token header came back:\n%s", way, b)
	}
	if !strings.Contains(string(b), "X-Checksum: 1") {
		t.Errorf("%s: the honest trailer is missing:\n%s", way, b)
	}
}
