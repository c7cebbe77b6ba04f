package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"lintel.dev/lintel/test/kit"
)

func traceID(h http.Header) string {
	parts := strings.Split(h.Get("Traceparent"), "-")
	if len(parts) != 4 {
		return "no traceparent: " + h.Get("Traceparent")
	}
	return parts[1]
}

// TestACallOnNobodysBehalfCarriesNoTransaction: unless txn_token.workload asks
// for one. Who calls is known all the same.
func TestACallOnNobodysBehalfCarriesNoTransaction(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	guesser(c.Orders.App)
	_, first := c.Echo("/orders/call?service=inventory&path=/x&with=nothing", c.Token(nil), nil)
	second := first.Second(t)
	for _, name := range []string{"X-Lintel-Txn", "Txn-Token", "X-User-Id"} {
		if got := second.Header.Get(name); got != "" {
			t.Errorf("inventory was told %s: %s", name, got)
		}
	}
	if got := second.Header.Get("X-Lintel-Chain"); got != svc("orders") {
		t.Errorf("chain %q", got)
	}
}

func TestIdentityGoesThroughTheMesh(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Workload: true})
	guesser(c.Orders.App)
	token := c.Token(nil)
	oneHop, twoHops := svc("ingress"), svc("ingress")+", "+svc("orders")

	for what, with := range map[string]string{"the trace context": "trace", "the Txn-Token": "token"} {
		t.Run("when the app forwards only "+what, func(t *testing.T) {
			_, first := c.Echo("/orders/call?service=inventory&path=/x&with="+with, token, nil)
			second := first.Second(t)
			for _, e := range []kit.Echo{first, second} {
				if e.Header.Get("X-User-Id") != "ada" || e.Header.Get("X-User-Roles") != "customer,admin" {
					t.Errorf("%s was told %v", e.App, e.Header)
				}
				if len(e.Header.Values("Authorization")) > 0 || len(e.Header.Values("Hop-Token")) > 0 {
					t.Errorf("%s was given a credential: %v", e.App, e.Header)
				}
			}
			if a, b := first.Header.Get("X-Lintel-Txn"), second.Header.Get("X-Lintel-Txn"); a == "" || a != b {
				t.Errorf("transaction %q at orders, %q at inventory", a, b)
			}
			if a, b := first.Header.Get("Txn-Token"), second.Header.Get("Txn-Token"); a == "" || a != b {
				t.Error("the Txn-Token was not passed on unmodified")
			}
			if got := first.Header.Get("X-Lintel-Chain"); got != oneHop {
				t.Errorf("chain at orders %q, want %q", got, oneHop)
			}
			if got := second.Header.Get("X-Lintel-Chain"); got != twoHops {
				t.Errorf("chain at inventory %q, want %q", got, twoHops)
			}
			if a, b := first.Header.Get("Tracestate"), second.Header.Get("Tracestate"); a == b {
				t.Errorf("inventory was given orders' tracestate member %q", a)
			}
		})
	}
	t.Run("nothing forwarded begins a transaction without a user", func(t *testing.T) {
		_, first := c.Echo("/orders/call?service=inventory&path=/x&with=nothing", token, nil)
		second := first.Second(t)
		if second.Header.Get("X-User-Id") != "" || second.Header.Get("X-User-Roles") != "" {
			t.Errorf("inventory was told %v", second.Header)
		}
		if a, b := first.Header.Get("X-Lintel-Txn"), second.Header.Get("X-Lintel-Txn"); b == "" || a == b {
			t.Errorf("transaction %q at orders, %q at inventory: want a new one", a, b)
		}
		if got := second.Header.Get("X-Lintel-Chain"); got != svc("orders") {
			t.Errorf("chain %q", got)
		}
	})
	t.Run("each request is its own transaction", func(t *testing.T) {
		_, a := c.Echo("/orders/x", token, nil)
		_, b := c.Echo("/orders/x", token, nil)
		if a.Header.Get("X-Lintel-Txn") == b.Header.Get("X-Lintel-Txn") || a.Header.Get("Tracestate") == b.Header.Get("Tracestate") {
			t.Error("two requests share a transaction")
		}
	})
	t.Run("a user's name that could end a header line does no harm", func(t *testing.T) {
		status, e := c.Echo("/orders/x", c.Token(map[string]any{"sub": "ada\r\nX-User-Roles: root"}), nil)
		if status == http.StatusOK && (strings.Contains(fmt.Sprint(e.Header), "root")) {
			t.Errorf("%d %v", status, e.Header)
		}
	})
	t.Run("a client that guesses another's trace id gets no identity by it", func(t *testing.T) {
		_, ada := c.Echo("/orders/x", token, nil)
		h := http.Header{"Traceparent": ada.Header["Traceparent"], "Tracestate": ada.Header["Tracestate"]}
		_, e := c.Echo("/open/call?service=inventory&path=/x", "", h)
		for _, e := range []kit.Echo{e, e.Second(t)} {
			if e.Header.Get("X-User-Id") != "" || e.Header.Get("X-Lintel-Txn") == ada.Header.Get("X-Lintel-Txn") {
				t.Errorf("%s was told %v", e.App, e.Header)
			}
		}
	})
	t.Run("an app that guesses another's trace id gets no identity by it", func(t *testing.T) {
		// Each guess is made while ada's request is in hand at the app.
		a := echo(t, fetch(t, c, "GET", "/orders/guess", token, nil, nil))
		var guesses map[string]kit.Echo
		if err := json.Unmarshal(a.Next, &guesses); err != nil {
			t.Fatalf("%v in %s", err, a.Next)
		}
		if e := guesses["both"]; e.Header.Get("X-User-Id") != "ada" {
			t.Fatalf("the app's honest call lost the user: %v", e.Header)
		}
		delete(guesses, "both")
		if len(guesses) != 5 {
			t.Errorf("%d guesses, want 5", len(guesses))
		}
		for how, e := range guesses {
			if e.App != "inventory" || e.Header.Get("X-User-Id") != "" || e.Header.Get("X-Lintel-Txn") == a.Header.Get("X-Lintel-Txn") {
				t.Errorf("%s: inventory was told %v", how, e.Header)
			}
		}
	})
	t.Run("what was known of a transaction is forgotten with it", func(t *testing.T) {
		_, over := c.Echo("/orders/x", token, nil)
		for how, h := range map[string]http.Header{
			"trace context": {"Traceparent": over.Header["Traceparent"], "Tracestate": over.Header["Tracestate"]},
			"Txn-Token":     {"Txn-Token": over.Header["Txn-Token"]},
		} {
			kit.Eventually(t, limit, "forgotten by "+how, func() error {
				status, body, err := c.Orders.App.Ask(t.Context(), "inventory", "/x", h.Clone())
				var e kit.Echo
				if err != nil || status != http.StatusOK || json.Unmarshal(body, &e) != nil {
					t.Fatalf("%d %s %v", status, body, err)
				}
				if e.Header.Get("X-User-Id") != "" || e.Header.Get("Txn-Token") == over.Header.Get("Txn-Token") {
					return fmt.Errorf("still %v", e.Header)
				}
				return nil
			})
		}
	})
}

// guesser adds /guess: it calls inventory in ways that must not find the
// transaction in hand, and in the one that must.
func guesser(a *kit.App) {
	a.Extra["/guess"] = func(w http.ResponseWriter, r *http.Request) {
		parent, state := r.Header.Get("Traceparent"), r.Header.Get("Tracestate")
		_, member, _ := strings.Cut(state, "lintel=")
		wrong := strings.Map(func(r rune) rune {
			if r == '0' {
				return '1'
			}
			return '0'
		}, member)
		out := map[string]json.RawMessage{}
		for how, h := range map[string]http.Header{
			"both":               {"Traceparent": {parent}, "Tracestate": {state}},
			"trace id":           {"Traceparent": {parent}},
			"a guessed member":   {"Traceparent": {parent}, "Tracestate": {"lintel=" + wrong}},
			"a shortened member": {"Traceparent": {parent}, "Tracestate": {"lintel=" + member[:len(member)-1]}},
			"the id as member":   {"Traceparent": {parent}, "Tracestate": {"lintel=" + strings.Split(parent, "-")[1]}},
			"the transaction id": {"Traceparent": {parent}, "Tracestate": {"lintel=" + r.Header.Get("X-Lintel-Txn")}, "X-Lintel-Txn": r.Header["X-Lintel-Txn"]},
		} {
			_, body, err := a.Ask(r.Context(), "inventory", "/x", h)
			if err != nil || !json.Valid(body) {
				body, _ = json.Marshal(fmt.Sprintf("%s %v", body, err))
			}
			out[how] = body
		}
		next, _ := json.Marshal(out)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(kit.Echo{App: a.Name, Header: r.Header, Next: next})
	}
}

func TestOneTraceGoesThroughFourHops(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	theirs := "0af7651916cd43dd8448eb211c80319c"
	_, first := c.Echo("/orders/call?service=inventory&path=/traced", c.Token(nil),
		http.Header{"Traceparent": {"00-" + theirs + "-b7ad6b7169203331-01"}, "Tracestate": {"vendor=1"}, "Baggage": {"k=v"}})
	second := first.Second(t)

	t.Run("an untrusted client's trace context begins anew", func(t *testing.T) {
		if id := traceID(first.Header); id == theirs || len(id) != 32 {
			t.Errorf("trace id %q", id)
		}
		if all := all(first.Header); strings.Contains(all, "vendor=1") || strings.Contains(all, "k=v") {
			t.Errorf("the app was given the stranger's tracestate or baggage: %s", all)
		}
	})
	id := traceID(first.Header)
	t.Run("both apps see one trace, each its own span", func(t *testing.T) {
		if second.Header.Get("Traceparent") == first.Header.Get("Traceparent") || traceID(second.Header) != id {
			t.Errorf("orders: %s, inventory: %s", first.Header.Get("Traceparent"), second.Header.Get("Traceparent"))
		}
	})
	t.Run("the access logs of three processes tell of four spans in it", func(t *testing.T) {
		spans := []string{}
		for _, at := range []struct {
			p        *kit.Process
			listener string
		}{{c.Ingress, "edge"}, {c.Orders.Process, "mesh"}, {c.Orders.Process, "outbound"}, {c.Inventory.Process, "mesh"}} {
			l := awaitLine(t, at.p, at.listener, func(l logLine) bool { return l.TraceID == id && l.Listener == at.listener })
			if slices.Contains(spans, l.SpanID) || len(l.SpanID) != 16 {
				t.Errorf("%s: span %q is not its own; others are %q", at.listener, l.SpanID, spans)
			}
			spans = append(spans, l.SpanID)
			if l.Txn != first.Header.Get("X-Lintel-Txn") || l.Status != http.StatusOK {
				t.Errorf("%s: %+v", at.listener, l)
			}
			if at.listener != "outbound" && l.User != "ada" {
				t.Errorf("%s: the user is %q", at.listener, l.User)
			}
		}
		if !strings.Contains(second.Header.Get("Traceparent"), spans[3]) || !strings.Contains(first.Header.Get("Traceparent"), spans[1]) {
			t.Error("an app's parent is not its sidecar's span")
		}
	})
	t.Run("a refusal tells the trace id that the access log tells", func(t *testing.T) {
		a := fetch(t, c, "GET", "/orders/refused", "", nil, nil)
		p := problem(t, a)
		l := awaitLine(t, c.Ingress, "the refusal", func(l logLine) bool { return l.TraceID == p.TraceID })
		if l.Status != http.StatusUnauthorized || l.Path != "/orders/refused" || l.Fault != p.Code {
			t.Errorf("%+v for %s", l, a.Text)
		}
	})
	t.Run("no log holds a credential", func(t *testing.T) {
		secret := c.Token(nil)
		_ = fetch(t, c, "GET", "/orders/x?q=hush-hush", secret, http.Header{"Cookie": {"hush-hush"}}, nil)
		for _, p := range []*kit.Process{c.Ingress, c.Orders.Process, c.Inventory.Process} {
			for _, out := range []string{p.Stdout.String(), p.Stderr.String()} {
				for _, s := range []string{secret, first.Header.Get("Txn-Token"), "hush-hush", "Bearer "} {
					if strings.Contains(out, s) {
						t.Errorf("a log holds %.20q", s)
					}
				}
			}
		}
	})
}

func TestTrustedProxysTraceContextIsContinued(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Listener: ", trusted_proxies: [127.0.0.0/8]"})
	theirs := "0af7651916cd43dd8448eb211c80319c"
	h := http.Header{"Traceparent": {"00-" + theirs + "-b7ad6b7169203331-01"}, "Tracestate": {"vendor=1,lintel=0af7651916cd43dd8448eb211c80319c"},
		"X-Forwarded-For": {"192.0.2.7"}, "Connection": {"X-Forwarded-For, x_forwarded_for"}} // which must not hide the client
	_, e := c.Echo("/orders/call?service=inventory&path=/x", c.Token(nil), h)
	for _, e := range []kit.Echo{e, e.Second(t)} {
		if traceID(e.Header) != theirs || !strings.Contains(e.Header.Get("Tracestate"), "vendor=1") {
			t.Errorf("%s: traceparent %q, tracestate %q", e.App, e.Header.Get("Traceparent"), e.Header.Get("Tracestate"))
		}
		if strings.Contains(e.Header.Get("Tracestate"), theirs) {
			t.Errorf("%s was given the client's lintel member: %q", e.App, e.Header.Get("Tracestate"))
		}
	}
	if got := e.Header.Get("X-Forwarded-For"); got != "192.0.2.7, 127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", got)
	}
}
