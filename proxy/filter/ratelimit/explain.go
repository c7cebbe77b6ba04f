package ratelimit

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter: by what the request is counted.
func (f *limiter) Account(x *exchange.Exchange) string {
	t := f.usual
	if other, ok := f.others[x.Consumer]; ok && x.Consumer != "" {
		t = other
	}
	if t == nil {
		return "no limit for consumer " + x.Consumer
	}
	return describe(t.limits, f.Algorithm) + " for " + counted(f.parts, x)
}

// AccountAnswer implements filter.AnswerAccounter.
func (f *limiter) AccountAnswer(*exchange.Exchange) string {
	switch {
	case f.told && f.Legacy != "off":
		return "RateLimit and X-RateLimit tell what is left"
	case f.told:
		return "RateLimit tells what is left"
	case f.Legacy != "off":
		return "X-RateLimit tells what is left"
	}
	return ""
}

// DependsOnCaller implements filter.CallerFilter.
func (f *limiter) DependsOnCaller(*exchange.Exchange) bool {
	return len(f.others) > 0 || ofCaller(f.parts)
}

// Account implements filter.Accounter.
func (f *concurrency) Account(x *exchange.Exchange) string {
	return "counted for " + counted(f.parts, x)
}

// DependsOnCaller implements filter.CallerFilter.
func (f *concurrency) DependsOnCaller(*exchange.Exchange) bool { return ofCaller(f.parts) }

func ofCaller(parts []part) bool {
	for _, p := range parts {
		switch p.kind {
		case byConsumer, bySubject, byClaim, byHeader:
			return true
		}
	}
	return false
}

// counted says of whom in words. Values of header fields and claims may be
// secrets.
func counted(parts []part, x *exchange.Exchange) string {
	var out []string
	for _, p := range parts {
		address := "address " + x.ClientIP.Unmap().String()
		switch key := p.appendTo(nil, x, 128); {
		case p.kind == byRoute:
			out = append(out, "route "+x.Route)
		case p.kind == byAddress:
			out = append(out, address)
		case key[0] == byAddress:
			out = append(out, address+" for want of a "+p.name())
		case p.kind == bySubject:
			out = append(out, "subject "+x.Identity.Subject)
		case p.kind == byHeader || p.kind == byClaim:
			out = append(out, p.name())
		default:
			out = append(out, p.name()+" "+string(key[5:]))
		}
	}
	return strings.Join(out, ", ")
}

func (p part) name() string {
	switch p.kind {
	case byConsumer:
		return "consumer"
	case bySubject:
		return "subject"
	case byClaim:
		return "claim " + p.arg
	case byHeader:
		return "header " + p.arg
	case byPeer:
		return "peer"
	case byParam:
		return "path parameter " + p.arg
	}
	return "address"
}
