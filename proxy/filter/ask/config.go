package ask

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/firewall"
)

// Address reads the address of whoever is to be asked.
func Address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	shown := func() string { // neither a password nor a key in the query
		bare := *u
		bare.RawQuery = ""
		return bare.Redacted()
	}
	switch {
	case err != nil:
		return nil, errors.New("expected an address such as http://127.0.0.1:4180/auth, found something else")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("expected an address such as http://127.0.0.1:4180/auth, found %q", shown())
	case u.User != nil:
		return nil, errors.New("expected an address without user name and password: put them into a header")
	case u.Fragment != "":
		return nil, fmt.Errorf("expected an address without a fragment, found #%s", u.Fragment)
	}
	return u, nil
}

// Names compiles the names of header fields at path that a filter hands on, each
// with "-*" at its end for all that begin so. What belongs to the connection, the
// framing or Lintel itself cannot be among them. Nil for none.
func Names(path string, names []string) (*firewall.Set, error) {
	if len(names) == 0 {
		return nil, nil
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		if err := CheckName(at, name); err != nil {
			return nil, err
		}
		for _, other := range names[:i] {
			if exchange.EqualFold(other, name) {
				return nil, filter.Errorf(at, "%s is given twice", name)
			}
		}
	}
	return firewall.NewSet(names...)
}

// CheckName refuses what no filter may hand on.
func CheckName(at, name string) error {
	set, err := firewall.NewSet(name)
	if err != nil {
		return filter.Errorf(at, "%s", strings.TrimPrefix(err.Error(), "firewall: "))
	}
	for _, own := range []string{"Host", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade",
		"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "HTTP2-Settings", "Expect", "Date", firewall.TxnToken, firewall.HopToken} {
		if set.Match(own) {
			return filter.Errorf(at, "%s is written by Lintel itself and cannot be handed on", own)
		}
	}
	return nil
}

// Plain reports whether s can be a field's value: nothing in it ends a line.
func Plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
