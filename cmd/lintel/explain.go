package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/ingress"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/sidecar"
)

// explainFlags describe a request that nobody makes.
type explainFlags struct {
	file, address                                      string
	method, host, path, listener, clientIP, peer, cert string
	jwt, apiKey                                        string
	headers                                            []string
	further                                            furtherFlags
}

func newExplain() *cobra.Command {
	var e explainFlags
	var output outputFlag
	c := &cobra.Command{
		Use:   "explain [URL]",
		Short: "Say what becomes of a request: its route, every filter's verdict, what is forwarded, and why not the other routes",
		Long: "Say what becomes of a request, without making it: which route it takes and why not the others, what every filter says of it and\n" +
			"changes, and what is forwarded where. Of a file (-c), with nothing running; or of a running Lintel (--address). Nothing is\n" +
			"counted, stored or asked for over the network: a filter that would have to is \"not asked\", and taken to let it pass.",
		Example: "  lintel explain -c lintel.yaml https://api.example.com/orders/7\n" +
			"  lintel explain -c lintel.yaml --method POST --path /orders -H 'X-Beta: 1' --jwt @token.txt --client-ip 203.0.113.9\n" +
			"  lintel explain --address 127.0.0.1:9901 --path /orders/7 --output json\n" +
			"  lintel explain --address 127.0.0.1:9902 --peer spiffe://example.org/svc/ingress --path /orders/7   # of a sidecar",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			v, err := e.values(args)
			if err == nil && len(args) > 0 && (c.Flags().Changed("host") || c.Flags().Changed("path")) {
				err = errors.New("--host and --path are said by the URL")
			}
			if err != nil {
				return usageError{err}
			}
			ex, err := e.ask(c.Context(), v)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(c.OutOrStdout(), ex)
			}
			return writeExplanation(c.OutOrStdout(), ex)
		},
	}
	f := c.Flags()
	f.StringVarP(&e.file, "config", "c", "", "configuration file of an ingress, or of a sidecar: then of its app's own calls")
	f.StringVar(&e.address, "address", "", "host:port of a running Lintel's admin API, instead of a file")
	f.StringVarP(&e.method, "method", "X", "GET", "request method")
	f.StringVar(&e.host, "host", "localhost", "Host of the request, unless a URL is given")
	f.StringVar(&e.path, "path", "/", "path of the request, with its query if any, unless a URL is given")
	f.StringVar(&e.listener, "listener", "", "listener it comes in on; the first that speaks the URL's scheme otherwise. Of a sidecar: outbound, or a service of its upstreams")
	f.StringArrayVarP(&e.headers, "header", "H", nil, "'Name: value'; repeatable")
	f.StringVar(&e.jwt, "jwt", "", "bearer token for Authorization, or @FILE that holds it")
	f.StringVar(&e.apiKey, "api-key", "", "value of X-API-Key, or @FILE that holds it; other places: -H")
	f.StringVar(&e.clientIP, "client-ip", "", "address it comes from; 127.0.0.1 otherwise")
	f.StringVar(&e.cert, "client-cert", "", "PEM file of the client's certificate, taken for verified")
	f.StringVar(&e.peer, "peer", "", "SPIFFE ID of the caller: what a sidecar's app would be asked")
	e.further.register(f)
	output.register(c)
	return c
}

// values are the parameters that the admin API takes too.
func (e *explainFlags) values(args []string) (url.Values, error) {
	if (e.file == "") == (e.address == "") {
		return nil, errors.New("-c FILE or --address HOST:PORT is required, and one of them only")
	}
	v := url.Values{"method": {e.method}, "host": {e.host}, "path": {e.path}, "listener": {e.listener}, "client_ip": {e.clientIP}, "peer": {e.peer}}
	if len(args) > 0 {
		u, err := url.Parse(args[0])
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("expected a URL as https://api.example.com/orders, found %q", args[0])
		}
		v.Set("scheme", u.Scheme)
		v.Set("host", u.Host)
		v.Set("path", u.EscapedPath())
		if u.RawQuery != "" {
			v.Set("path", u.EscapedPath()+"?"+u.RawQuery)
		}
	}
	for _, h := range e.headers {
		v.Add("header", h)
	}
	for _, c := range []struct{ name, prefix, value string }{{"Authorization", "Bearer ", e.jwt}, {"X-API-Key", "", e.apiKey}} {
		if c.value == "" {
			continue
		}
		secret, err := fromFile(c.value)
		if err != nil {
			return nil, err
		}
		v.Add("header", c.name+": "+c.prefix+secret)
	}
	if e.cert != "" {
		text, err := os.ReadFile(e.cert)
		if err != nil {
			return nil, err
		}
		pem := certificates(text)
		if pem == "" {
			return nil, fmt.Errorf("--client-cert: %s holds no PEM certificate", e.cert)
		}
		v.Set("client_cert", pem)
	}
	return v, nil
}

// certificates leaves out what else a PEM file holds, its key above all.
func certificates(text []byte) string {
	var out strings.Builder
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	for rest := string(text); ; {
		_, after, ok := strings.Cut(rest, begin)
		body, more, whole := strings.Cut(after, end)
		if !ok || !whole {
			return out.String()
		}
		out.WriteString(begin + body + end + "\n")
		rest = more
	}
}

// fromFile is s, or for @FILE what the file holds.
func fromFile(s string) (string, error) {
	name, ok := strings.CutPrefix(s, "@")
	if !ok {
		return s, nil
	}
	b, err := os.ReadFile(name)
	return string(bytes.TrimSpace(b)), err
}

// ask explains by a running Lintel, or by a file.
func (e *explainFlags) ask(ctx context.Context, v url.Values) (ex route.Explanation, err error) {
	if e.address != "" {
		if _, _, err := net.SplitHostPort(e.address); err != nil {
			return ex, usageError{fmt.Errorf("--address: expected host:port, found %q", e.address)}
		}
		body, err := admin.Explain(ctx, e.address, v)
		if err != nil {
			return ex, err
		}
		return ex, json.Unmarshal(body, &ex)
	}
	r, err := admin.ReadExplain(v)
	if err != nil {
		return ex, usageError{err}
	}
	s, err := load(e.file)
	if err == nil {
		s, err = e.further.merge(ctx, s)
	}
	if err != nil {
		return ex, err
	}
	if s.Sidecar != nil && len(s.Listeners) == 0 {
		if ex, err = sidecar.Explain(s, r); err != nil {
			err = usageError{err}
		}
		return ex, err
	}
	t, err := ingress.Check(s)
	if err != nil {
		return ex, usageError{err}
	}
	in, err := compose.EdgeEntrance(s.Listeners, r)
	if err != nil {
		t.Release()
		return ex, usageError{err}
	}
	return compose.Explain(t, in, r)
}

func writeExplanation(w io.Writer, e route.Explanation) error {
	var b strings.Builder
	if e.Method == "" {
		fmt.Fprintf(&b, "a connection\n  listener %s\n", e.Listener)
	} else {
		fmt.Fprintf(&b, "%s %s%s\n", e.Method, e.Host, e.Path)
		if e.Listener != "" {
			fmt.Fprintf(&b, "  listener %s, from %s\n", e.Listener, e.ClientIP)
		}
	}
	if e.Route != "" {
		fmt.Fprintf(&b, "  route    %s (%s), matches %s\n", e.Route, e.Pos, e.Match)
	}
	for _, p := range e.Params {
		fmt.Fprintf(&b, "           {%s} is %s\n", p.Name, p.Value)
	}
	for i, f := range e.Filters {
		writeFilter(&b, i+1, f)
	}
	if len(e.Assumed) > 0 {
		fmt.Fprintf(&b, "  unless it ends at %s:\n", strings.Join(e.Assumed, " or "))
	}
	for _, c := range e.Changes {
		fmt.Fprintf(&b, "  route    %s\n", c)
	}
	switch e.Action {
	case "service":
		query := ""
		if e.Query != "" {
			query = "?" + e.Query
		}
		fmt.Fprintf(&b, "  service  %s%s, as %s%s, Host %s\n", e.Service, at(e.ServicePos), e.Forward, query, e.ForwardHost)
	case "tcp":
		fmt.Fprintf(&b, "  tcp      an opaque stream to %s%s\n", e.Service, at(e.ServicePos))
	case "redirect":
		fmt.Fprintf(&b, "  redirect %d to %s\n", e.Status, e.Location)
	case "respond", "answered":
		fmt.Fprintf(&b, "  %-8s %d\n", e.Action, e.Status)
	default:
		fmt.Fprintf(&b, "  refused  %d: %s\n", e.Status, e.Problem)
	}
	for _, t := range e.Terms {
		writeTerm(&b, t)
	}
	for _, o := range e.Others {
		fmt.Fprintf(&b, "  not %s (%s): %s\n", o.Route, o.Pos, o.Why)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFilter(b *strings.Builder, n int, f route.FilterLine) {
	from := f.Pos
	if f.Policy != "" {
		from += ", policy " + f.Policy
	}
	verdict := f.Verdict
	if f.Status != 0 {
		verdict = strings.TrimSpace(fmt.Sprintf("%s %d %s", verdict, f.Status, f.Code))
	}
	fmt.Fprintf(b, "  filter %d %s (%s): %s\n", n, f.Kind, from, verdict)
	for _, l := range []struct{ what, text string }{{"why", f.Why}, {"inputs", f.Inputs}, {"settings", shorten(f.Settings)}} {
		if l.text != "" {
			fmt.Fprintf(b, "           %s: %s\n", l.what, l.text)
		}
	}
	for _, c := range f.Changes {
		fmt.Fprintf(b, "           %s\n", c)
	}
	if f.OnAnswer != "" {
		fmt.Fprintf(b, "           on the answer: %s\n", shorten(f.OnAnswer))
	}
}

// at is a place, in brackets.
func at(pos string) string {
	if pos == "" {
		return ""
	}
	return " (" + pos + ")"
}

func writeTerm(b *strings.Builder, t route.Term) {
	from := t.Pos
	if from == "" {
		from = "default"
	}
	if t.Service != "" {
		from += ", service " + t.Service
	}
	fmt.Fprintf(b, "  term     %s (%s): %s\n", t.Kind, from, t.Verdict)
	writeCases(b, t.Cases)
	for _, l := range []struct{ what, text string }{{"why", t.Why}, {"inputs", t.Inputs}, {"settings", shorten(t.Settings)}, {"now", t.Now}} {
		if l.text != "" {
			fmt.Fprintf(b, "           %s: %s\n", l.what, l.text)
		}
	}
}

// writeCases has a line for those that end well, and one for each reason why not.
func writeCases(b *strings.Builder, cases []route.Case) {
	var reasons []string
	after := map[string][]string{}
	for _, c := range cases {
		if after[c.Why] == nil {
			reasons = append(reasons, c.Why)
		}
		after[c.Why] = append(after[c.Why], c.After)
	}
	if again := after[""]; again != nil {
		fmt.Fprintf(b, "           again after %s\n", strings.Join(again, ", "))
	}
	for _, why := range reasons {
		if why != "" {
			fmt.Fprintf(b, "           not after %s: %s\n", strings.Join(after[why], ", "), why)
		}
	}
}

// shorten keeps a line readable; --output json has all of it.
func shorten(s string) string {
	const limit = 160
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}
