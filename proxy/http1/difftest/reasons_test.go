package difftest

import (
	"bytes"
	"net/url"
	"regexp"
	"slices"

	"lintel.dev/lintel/proxy/exchange"
)

// reason is why a difference between the engine and its reference is meant.
type reason struct {
	pattern string // of what it is about, as a regular expression for all of it
	why     string
	re      *regexp.Regexp
}

func (r reason) matches(s string) bool { return r.re.MatchString(s) }

func compiled(list []reason) []reason {
	for i := range list {
		list[i].re = regexp.MustCompile(`^(?:` + list[i].pattern + `)$`)
	}
	return list
}

// refusals are the faults, "code: detail", of requests that the reference may
// pass on: repaired, which makes one reading of several, or as they are.
var refusals = compiled([]reason{
	{pattern: "bad-line: .*", why: "net/http reads bare LF, folded lines and white space in odd places, and writes them anew"},
	{pattern: "bad-method: .*", why: "net/http has no bound on a method's length, and skips empty lines after a POST"},
	{pattern: "bad-version: HTTP/1.[2-9] was asked for.*", why: "RFC 9110 section 2.5 would have us read it as 1.1; nobody sends it but to find out who reads it otherwise"},
	{pattern: "bad-host: .*", why: "net/http knows which bytes a Host may hold, not what an authority is"},
	{pattern: "bad-target: the asterisk-form is for OPTIONS only.*", why: "net/http passes it on for every method"},
	{pattern: "bad-target: the request target holds a byte that must be percent-encoded.*", why: "net/http takes bytes above 0x7f"},
	{pattern: "bad-target: the request target is neither a path nor an http or https URI.*", why: "net/http takes URIs of any scheme"},
	{pattern: "bad-target: the request target's authority is not valid.*", why: "net/http parses it as a URL's: with user information and without regard to ports"},
	{pattern: "bad-target: a request target has no fragment.*", why: "net/http cuts it off"},
	{pattern: "bad-framing: Content-Length is not a decimal number of at most 19 digits", why: "net/http takes any number of leading zeros"},
	{pattern: "bad-framing: there is more than one Content-Length", why: "net/http takes the same length said twice, as RFC 9112 section 6.3 allows; it does not have to be taken"},
	{pattern: "bad-framing: HTTP/1.0 has no Transfer-Encoding.*", why: "net/http ignores or takes it; RFC 9112 section 6.1 has the framing be faulty"},
	{pattern: "bad-framing: a field name differs from .* by its separator only", why: "to net/http it is a field like any other; services that read it as the other one are not net/http"},
	{pattern: "bad-framing: the Connection field holds what is no token", why: "net/http looks for known options in it only"},
	{pattern: "bad-framing: the message has both Content-Length and Transfer-Encoding", why: "net/http drops Content-Length, as RFC 9112 section 6.1 allows"},
	{pattern: "bad-trailer: .*", why: "net/http drops the names that cannot be a trailer's"},
	{pattern: "expectation-failed: .*", why: "the reference passes on what it does not know; 417 is the answer of RFC 9110 section 10.1.1"},
	{pattern: "bad-body: a chunk extension is malformed.*", why: "net/http drops everything behind a semicolon, and white space"},
	{pattern: "bad-body: a chunk size is not 1 to 16 hexadecimal digits below 2\\^63.*", why: "net/http takes white space behind it, and sizes that it then cannot read"},
	{pattern: "bad-body: a chunk's line does not end with CRLF.*", why: "net/http takes a bare LF"},
	{pattern: "bad-body: there are too many bytes of chunk extensions", why: "net/http bounds them relative to the data"},
	{pattern: "bad-body: in the trailer section .*", why: "net/http reads the trailer section as leniently as a head"},
	{pattern: "bad-body: the trailer section has a line that is no field line or does not end with CRLF", why: "net/http takes bare LF"},
	{pattern: "bad-body: the trailer section has too many bytes or lines", why: "net/http has no bound on the number of lines"},
})

// fieldReasons are names of fields that may be passed on differently.
var fieldReasons = compiled([]reason{
	{pattern: "trailer", why: "the reference sorts the names; it is an announcement only"},
	{pattern: "expect", why: "http1 takes it off where it means nothing: without a body, from HTTP/1.0 clients (RFC 9110 section 10.1.1)"},
	{pattern: "connection", why: "http1 says Connection: TE with TE (RFC 9110 section 10.1.4)"},
	{pattern: "user-agent", why: "net/http leaves out an empty one, and only sends the first of several"},
	{pattern: "cache-control", why: "net/http adds no-cache to Pragma: no-cache"},
})

// trailerReasons are names of trailer fields that only the reference passes on:
// what concerns framing, routing, authentication, caching or the content must
// not come after the content (RFC 9110 section 6.5.1).
var trailerReasons = compiled([]reason{
	{pattern: "host|connection|keep.alive|te|trailer|transfer.encoding|upgrade|expect|max.forwards|range|via|forwarded|x.real.ip|x.request.id|traceparent|tracestate"},
	{pattern: "authorization|cookie|set.cookie|www.authenticate|authentication.info|txn.token"},
	{pattern: "age|cache.control|pragma|expires|date|vary|location|retry.after|warning|accept.ranges|strict.transport.security"},
	{pattern: "(x.forwarded|if|content|proxy|access.control).*"},
})

// noHost: HTTP/1.0 does not ask for a Host; where there is none net/http writes
// the endpoint's address. The pipe refuses such requests (proxy/pipe).
const noHost = ""

// stricter are requests that only http1 passes on.
var stricter = []struct {
	why     string
	applies func(r request, in []byte, refused []exchange.Fault) bool
}{
	{"net/http parses a target as a URL, broken percent-encodings among it; here whoever looks into a path refuses them (proxy/pipe)",
		func(r request, _ []byte, _ []exchange.Fault) bool {
			_, err := url.ParseRequestURI(r.target)
			return err != nil
		}},
	{"an empty line before a request line is ignored (RFC 9112 section 2.2); net/http does so after a POST only",
		func(_ request, in []byte, _ []exchange.Fault) bool {
			return bytes.HasPrefix(in, []byte("\r\n")) || bytes.Contains(in, []byte("\r\n\r\n\r\n"))
		}},
}

// refusedAnswers are the faults, "code: detail", of answers that the reference
// may pass on.
var refusedAnswers = compiled([]reason{
	{pattern: "bad-answer: the message has both Content-Length and Transfer-Encoding", why: "net/http drops Content-Length"},
	{pattern: "bad-answer: there is more than one Content-Length", why: "net/http takes the same length said twice"},
	{pattern: "bad-answer: Content-Length is not a decimal number of at most 19 digits", why: "net/http takes any number of leading zeros, and none at all"},
	{pattern: "bad-answer: a field name differs from .* by its separator only", why: "as in requests"},
	{pattern: "bad-answer: the Connection field holds what is no token", why: "as in requests"},
	{pattern: "bad-answer: HTTP/1.0 has no Transfer-Encoding.*", why: "net/http ignores it"},
	{pattern: "bad-answer: an interim answer has a body", why: "net/http reads the body as the next answer's head"},
	{pattern: "bad-answer: its status .*", why: "net/http takes any three digits"},
	{pattern: "bad-answer: it does not begin with the status line.*", why: "net/http takes other versions 1.x, and an empty status line"},
	{pattern: "bad-answer: its status line holds a control byte.*", why: "net/http takes any"},
	{pattern: "bad-answer: a line of its head does not end in CR LF", why: "net/http takes bare LF"},
	{pattern: "bad-answer: (a field|white space|a field value) .*", why: "net/http reads folded lines and white space in odd places"},
	{pattern: "answer-head-too-large: it has too many field lines", why: "net/http bounds the bytes only"},
})

// brokenAnswers are why http1 broke off an answer that had begun, where the
// reference may go on.
var brokenAnswers = compiled([]reason{
	{pattern: ".*a chunk size is not .*", why: "net/http takes white space behind it"},
	{pattern: ".*a chunk extension is malformed.*", why: "net/http drops everything behind a semicolon"},
	{pattern: ".*too many bytes of chunk extensions.*", why: "net/http bounds them relative to the data"},
	{pattern: ".*a chunk's (line|data) .*", why: "net/http takes a bare LF"},
	{pattern: ".*the trailer section .*", why: "net/http reads it as leniently as a head"},
})

// answerFieldReasons are names of fields that a client may see differently.
var answerFieldReasons = compiled([]reason{
	{pattern: "date", why: "both add it, at different times"},
	{pattern: "connection", why: "it is between the proxy and the client only"},
	{pattern: "trailer", why: "the reference sorts the names; it is an announcement only"},
	{pattern: "content-length", why: "how an answer is framed is each engine's own; what is read by it is compared"},
})

// nominatedWithClose: net/http's transport takes a Connection field off that says
// close, so that nobody learns which further fields it nominates. (proxy/nethttp
// passes those on; it speaks to services by HTTP/2 only where http1 is there.)
func nominatedWithClose(ours, reference []string, answer []byte) bool {
	for _, line := range ours {
		if !slices.Contains(reference, line) {
			return false
		}
	}
	return saysClose.Match(answer)
}

var saysClose = regexp.MustCompile(`(?im)^connection:.*close`)

// stricterAnswers are those that only http1 passes on.
var stricterAnswers = []struct {
	why     string
	applies func(answer []byte, refused *visible) bool
}{}
