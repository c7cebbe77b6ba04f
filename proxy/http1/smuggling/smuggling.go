// Package smuggling is a corpus of byte sequences that have made, or could
// make, two HTTP/1 readers disagree about where a request ends, what it is
// about or for whom it is. They come from the text of RFC 9112 and RFC 9110 and
// from what public write-ups describe (CL.TE, TE.CL, TE.TE, CL.0, 0.CL, chunk
// extensions, line terminators, Expect, Upgrade, forwarded framing fields).
//
// It is data: the codec's tests read it at the level of bytes, and tests of a
// running proxy send it through one.
package smuggling

import "strings"

// Case is what one client sends on one connection, after which it sends nothing
// more and leaves its side open.
type Case struct {
	Name  string
	Bytes string
	// Refuse is the status that the rest of it is answered with, whereupon the
	// connection is closed; 0 if nothing is refused. Refused at once, not when
	// a time-out has passed.
	Refuse int
	// Requests counts Want: the requests that are taken before anything is
	// refused, each of which may go to a service once.
	Requests int
	Want     []Request
	// Body tells a refusal in the body of the last request of Want, which by
	// then may have been sent on in part, from one of a head.
	Body bool
	// Waits says that the bytes end within a message: nothing of the rest may be
	// taken for a request, and nothing can be refused before more comes.
	Waits bool
}

// Request is what a case's request must be read as.
type Request struct {
	Method string
	Host   string
	Target string // as it is sent on: path and query
	Body   string // decoded
}

// Smuggled is the path of requests that must never be seen: they are inside
// the body, or the refused part, of another.
const Smuggled = "/smuggled"

const (
	crlf = "\r\n"
	// hidden is a request where no reader may see one.
	hidden = "GET " + Smuggled + " HTTP/1.1\r\nHost: a.example\r\n\r\n"
	get    = "GET /x HTTP/1.1\r\nHost: a.example\r\n"
	post   = "POST /x HTTP/1.1\r\nHost: a.example\r\n"
	te     = post + "Transfer-Encoding: chunked\r\n\r\n"
)

// Cases returns all of them. Names are unique.
func Cases() []Case {
	var c cases
	c.lengths()
	c.codings()
	c.both()
	c.lines()
	c.names()
	c.values()
	c.chunkSizes()
	c.chunkExtensions()
	c.chunkData()
	c.trailers()
	c.requestLines()
	c.targets()
	c.hosts()
	c.connections()
	c.expectations()
	c.pipelines()
	return c.list
}

type cases struct{ list []Case }

func (c *cases) add(k Case) {
	k.Requests = len(k.Want)
	c.list = append(c.list, k)
}

// refuse adds a case whose head is refused.
func (c *cases) refuse(status int, name, bytes string) {
	c.add(Case{Name: name, Bytes: bytes, Refuse: status})
}

// refuseBody adds a case whose request is taken and whose body is refused.
func (c *cases) refuseBody(name, bytes string) {
	c.add(Case{Name: name, Bytes: bytes, Refuse: 400, Body: true, Want: []Request{aPost("")}})
}

// refuseNext adds a case that is refused after one GET.
func (c *cases) refuseNext(status int, name, bytes string) {
	c.add(Case{Name: name, Bytes: bytes, Refuse: status, Want: []Request{aGet()}})
}

// accept adds a case that is taken as exactly these requests.
func (c *cases) accept(name, bytes string, want ...Request) {
	c.add(Case{Name: name, Bytes: bytes, Want: want})
}

// waits adds a case that ends in the middle of a message. If that is the last
// request's body, Body of it is what has come.
func (c *cases) waits(name, bytes string, want ...Request) {
	c.add(Case{Name: name, Bytes: bytes, Want: want, Waits: true})
}

func aGet() Request { return Request{Method: "GET", Host: "a.example", Target: "/x"} }

func aPost(body string) Request {
	return Request{Method: "POST", Host: "a.example", Target: "/x", Body: body}
}

// show makes odd bytes fit for a name.
func show(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] > ' ' && s[i] < 0x7f {
			b.WriteByte(s[i])
			continue
		}
		const hex = "0123456789abcdef"
		b.WriteString("\\x" + string([]byte{hex[s[i]>>4], hex[s[i]&15]}))
	}
	return b.String()
}

// odd are bytes that some reader or other has taken for white space or a line's
// end: NUL, SOH, backspace, VT, FF, SUB, ESC, unit separator and DEL. What
// stands above 0x7f (NEL, no-break space) is obs-text in a value.
var odd = []string{"\x00", "\x01", "\x08", "\x0b", "\x0c", "\x1a", "\x1b", "\x1f", "\x7f"}
