package smuggling

import "strings"

// lines are about where a line and a head end (RFC 9112 section 2.2).
func (c *cases) lines() {
	lf := func(s string) string { return strings.ReplaceAll(s, crlf, "\n") }
	c.refuse(400, "all lines end with LF", lf(get+crlf)+hidden)
	c.refuse(400, "the request line ends with LF", "GET /x HTTP/1.1\nHost: a.example\r\n\r\n"+hidden)
	c.refuse(400, "a field line ends with LF", get+"X-A: b\n\r\n"+hidden)
	c.refuse(400, "the head ends with LF", get+"\n"+hidden)
	c.refuse(400, "the head ends with LF LF", "GET /x HTTP/1.1\r\nHost: a.example\n\n"+hidden)
	c.refuse(400, "the head ends with LF CR LF", "GET /x HTTP/1.1\r\nHost: a.example\n\r\n"+hidden)
	c.refuse(400, "the head ends with CR CR LF", "GET /x HTTP/1.1\r\nHost: a.example\r\r\n\r\n"+hidden)
	c.refuse(400, "the head ends with CR LF CR CR LF", get+"\r\r\n\r\n"+hidden)
	c.refuse(400, "all lines end with CR", strings.ReplaceAll(get, crlf, "\r")+"\r\r\n\r\n"+hidden)
	c.refuse(400, "lines end with LF CR", "GET /x HTTP/1.1\n\rHost: a.example\n\r\n\r"+hidden)
	c.refuse(400, "a bare CR in the request line", "GET /x\r HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR behind the version", "GET /x HTTP/1.1\r X\r\nHost: a.example\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR in a name", get+"X\r-A: b\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR in a value", get+"X-A: b\rc\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR before a value", get+"X-A:\rb\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR that hides a length", get+"X-A: b\rContent-Length: 44\r\n\r\n"+hidden)
	c.refuse(400, "a bare CR and white space that hide a length", get+"X-A: b\r Content-Length: 44\r\n\r\n"+hidden)
	c.refuse(400, "a bare LF that hides a length", get+"X-A: b\nContent-Length: 44\r\n\r\n"+hidden)
	c.refuse(400, "a bare LF that hides a request", get+"X-A: b\n\n"+hidden)
	c.refuse(400, "a bare CR that hides a request", get+"X-A: b\r\r"+hidden)
	c.refuse(400, "a line that is only a CR", get+"\r\r\nX: y\r\n\r\n"+hidden)
	for _, sep := range []string{"\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x00"} {
		c.refuse(400, "a line that ends with "+show(sep), get+"X-A: b"+sep+"Content-Length: 44\r\n\r\n"+hidden)
		c.refuse(400, "a line that is only "+show(sep), get+sep+"\r\nX: y\r\n\r\n"+hidden)
	}
	// Line ends of Unicode are obs-text: no line ends there, for anybody.
	for _, sep := range []string{"\x85", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"} {
		c.accept("no line ends with "+show(sep), get+"X-A: b"+sep+"Content-Length: 44\r\n\r\n"+get+crlf, aGet(), aGet())
		c.refuse(400, "a name after "+show(sep), get+sep+"Content-Length: 44\r\n\r\n"+hidden)
	}
	for _, space := range []string{" ", "\t", "  ", " \t"} {
		c.refuse(400, "folded with "+show(space), get+"X-A: b\r\n"+space+"c\r\n\r\n"+hidden)
		c.refuse(400, "folded into a field line with "+show(space), get+"X-A: b\r\n"+space+"Content-Length: 44\r\n\r\n"+hidden)
		c.refuse(400, "folded with nothing after "+show(space), get+"X-A: b\r\n"+space+"\r\n\r\n"+hidden)
		c.refuse(400, "the first field line begins with "+show(space), "GET /x HTTP/1.1\r\n"+space+"Host: a.example\r\n\r\n"+hidden)
		c.refuse(400, "the first field line is only "+show(space), "GET /x HTTP/1.1\r\n"+space+"\r\nHost: a.example\r\n\r\n"+hidden)
		c.refuse(400, "a folded Host by "+show(space), "GET /x HTTP/1.1\r\nHost:\r\n"+space+"a.example\r\n\r\n"+hidden)
		c.refuse(400, "a folded length by "+show(space), post+"Content-Length:\r\n"+space+"44\r\n\r\n"+hidden)
		c.refuse(400, "the head ends with a line of "+show(space), get+space+"\r\n"+hidden+crlf)
	}
	c.waits("a head without its end", get)
	c.waits("a head that ends with CR LF CR", get+"\r")
	c.waits("a head that ends within a line", get+"X-A: b")
}

// names are about field names (RFC 9112 section 5.1).
func (c *cases) names() {
	for _, name := range []string{"", " ", "X A", "X-A ", "X-A\t", " X-A", "X(A", "X)A", "X<A", "X>A", "X@A", "X,A", "X;A", "X\\A", "X\"A", "X/A", "X[A", "X]A", "X?A", "X=A", "X{A", "X}A", "X\x80A", "X\xff", "\xc3\xa4", "Content-Length\xe2\x80\x8b", "\xef\xbc\xa3ontent-Length", "Content-Length,", "Content-Length;", "Content-Length=", "(Content-Length)", "Content-Length ", "Content-Length\t", "Host ", "Host\t"} {
		c.refuse(400, "name "+show(name), post+name+": 44\r\n\r\n"+hidden)
	}
	for _, name := range []string{"Content_Length", "Content.Length", "content_length", "CONTENT.LENGTH", "Transfer_Encoding", "TRANSFER.ENCODING"} {
		c.refuse(400, "look-alike name "+show(name), post+name+": 44\r\n\r\n"+hidden)
	}
	for _, o := range odd {
		c.refuse(400, "name that begins with "+show(o), post+o+"Content-Length: 44\r\n\r\n"+hidden)
		c.refuse(400, "name that ends with "+show(o), post+"Content-Length"+o+": 44\r\n\r\n"+hidden)
		c.refuse(400, "name with "+show(o)+" inside", post+"Content"+o+"-Length: 44\r\n\r\n"+hidden)
	}
	c.refuse(400, "a line without a colon", get+"Content-Length 44\r\n\r\n"+hidden)
	c.refuse(400, "a line that is a request line", get+"GET /y HTTP/1.1\r\nHost: b.example\r\n\r\n"+hidden)
	c.refuse(400, "a line that is a word", get+"x\r\n\r\n"+hidden)
	for _, name := range []string{"X-Content-Length", "Content-Lengt", "Content-Lengths", "Content--Length", "ContentLength", "Length", "Content", "-", "X'A", "!#$%&'*+-.^_`|~", "0"} {
		c.accept("no length: "+show(name), post+name+": 44\r\n\r\n"+get+crlf, aPost(""), aGet())
	}
}

// values are about field values (RFC 9110 section 5.5).
func (c *cases) values() {
	for _, o := range odd {
		for place, value := range map[string]string{"only": o, "first": o + "b", "last": "b" + o, "between": "b" + o + "c", "far in": strings.Repeat("b", 15) + o + "c"} {
			c.refuse(400, "value with "+show(o)+" "+place, get+"X-A: "+value+"\r\n\r\n"+hidden)
		}
	}
	for _, value := range []string{"", " ", "\t", "b\tc", "\x80", "\xff", "\xc3\xa4", "b: c", "\"b\\\"c", "(b", "\\r\\nContent-Length: 44", "%0d%0aContent-Length:%2044", "GET /y HTTP/1.1", ",,,"} {
		c.accept("value "+show(value), get+"X-A: "+value+"\r\n\r\n"+get+crlf, aGet(), aGet())
	}
}

// requestLines are about method, spaces and version (RFC 9112 section 3).
func (c *cases) requestLines() {
	rest := "\r\nHost: a.example\r\n\r\n" + hidden
	for _, line := range []string{
		"GET /x", "GET /x ", "GET /x  HTTP/1.1", "GET  /x HTTP/1.1", " GET /x HTTP/1.1", "\tGET /x HTTP/1.1", "GET /x HTTP/1.1 ", "GET /x HTTP/1.1\t", "GET\t/x HTTP/1.1", "GET /x\tHTTP/1.1", "GET\x0b/x HTTP/1.1", "GET\x0c/x HTTP/1.1", "GET /x\x0bHTTP/1.1", "GET /x\x0cHTTP/1.1", "GET\xa0/x HTTP/1.1", "GET /x\xa0HTTP/1.1", "GET\x00/x HTTP/1.1",
		"GET", "GET ", "GET HTTP/1.1", " /x HTTP/1.1", "/x HTTP/1.1", "HTTP/1.1", "GET /x HTTP/1.1 HTTP/1.1", "GET /x /y HTTP/1.1", "GET /x y HTTP/1.1", "GET /x HTTP/1.1 X: y",
		"GET /x HTTP", "GET /x HTTP/", "GET /x HTTP/1", "GET /x HTTP/1.", "GET /x HTTP/.1", "GET /x HTTP/1.1.", "GET /x HTTP/1.1.1", "GET /x HTTP/1,1", "GET /x HTTP/11", "GET /x HTTP/01.1", "GET /x HTTP/1.01", "GET /x HTTP/1.10", "GET /x HTTP/10.1", "GET /x HTTP/+1.1", "GET /x HTTP/-1.1", "GET /x HTTP/1.-1", "GET /x HTTP/ 1.1", "GET /x HTTP /1.1", "GET /x HTTP/1. 1", "GET /x HTTP/a.b", "GET /x HTTP/\xef\xbc\x91.1",
		"GET /x http/1.1", "GET /x Http/1.1", "GET /x HTTQ/1.1", "GET /x HTTPS/1.1", "GET /x XHTTP/1.1", "GET /x SHTTP/1.1", "GET /x RTSP/1.0", "GET /x ICY/1.1", "GET /x HTTP\\1.1", "GET /x HTTP-1.1", "GET /x HTTP/1.1\x00", "GET /x HTTP/1.\x001", "GET /x \x00HTTP/1.1", "GET /x HTTP/1.1\x0b", "GET /x HTTP/1.1\x85", "GET /x \"HTTP/1.1\"",
	} {
		c.refuse(400, "request line "+show(line), line+rest)
	}
	for _, version := range []string{"0.9", "0.0", "1.2", "1.3", "1.9", "2.0", "2.1", "3.0", "9.9"} {
		c.refuse(505, "version "+version, "GET /x HTTP/"+version+rest)
	}
	c.refuse(505, "a TE request of version 1.2", "POST /x HTTP/1.2\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(505, "version 2.0 with the preface's method but another path", "PRI /x HTTP/2.0\r\n\r\nSM\r\n\r\n"+hidden)
	for _, method := range []string{"G(T", "G)T", "G<T", "G>T", "G@T", "G,T", "G;T", "G:T", "G\\T", "G\"T", "G/T", "G[T", "G]T", "G?T", "G=T", "G{T", "G}T", "G\x00T", "G\x7fT", "G\xc3\xa4T", "\xef\xbb\xbfGET", "\"GET\"", "Host:", strings.Repeat("M", 33), strings.Repeat("M", 4000)} {
		c.refuse(400, "method "+show(method[:min(len(method), 40)])+" of "+string(rune('0'+min(len(method)/33, 9))), method+" /x HTTP/1.1"+rest)
	}
	for _, method := range []string{"get", "Get", "GET!", "G'T", "POSTS", "X-GET", "_", "0", "PURGE", "TRACKX", strings.Repeat("M", 32)} {
		c.accept("method "+show(method), method+" /x HTTP/1.1\r\nHost: a.example\r\n\r\n"+get+crlf, Request{Method: method, Host: "a.example", Target: "/x"}, aGet())
	}
	c.refuse(405, "CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"+hidden)
	c.refuse(405, "CONNECT with a path", "CONNECT /x HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	c.refuse(405, "CONNECT with a body", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 44\r\n\r\n"+hidden)
	c.refuse(405, "CONNECT with an absolute-form", "CONNECT http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	for name, first := range map[string]string{"NUL": "\x00", "space": " ", "tab": "\t", "colon": ":", "a TLS hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "a byte order mark": "\xef\xbb\xbf", "SSLv2": "\x80\x2e\x01", "a CR": "\rX", "DEL": "\x7f"} {
		c.refuse(400, "the connection begins with "+name, first+get+crlf)
	}
	c.refuse(400, "the connection begins with LF", "\n"+get+crlf)
	c.refuse(400, "two empty lines", "\r\n\r\n"+get+crlf)
	c.refuse(400, "an empty line with a space", " \r\n"+get+crlf)
	c.accept("one empty line", "\r\n"+get+crlf, aGet())
}

// targets are about the request target (RFC 9112 section 3.2).
func (c *cases) targets() {
	head := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: a.example\r\n\r\n" }
	for _, target := range []string{
		"x", "x/y", "*", "*x", "/*#", "?x", "#x", "/x#", "/x#y", "/x?y#z", ".", "..", "../x", "\\x", "\\\\b.example\\x", "a.example", "a.example:80", "a.example/x", ":80", "%2fx", "@b.example/x", "~/x",
		"http:", "http:/", "http:/x", "http:x", "http://", "http:///", "http:///x", "http://?x", "http://#x", "http:\\\\b.example\\x", "http:/\\b.example/x", "http//b.example/x", "://b.example/x", "ftp://b.example/x", "file:///x", "ws://b.example/x", "gopher://b.example/", "javascript:1", "data:,x", "urn:x", "hhttp://b.example/x", "http+unix://b.example/x", "h\x01ttp://b.example/",
		"http://u@b.example/x", "http://u:p@b.example/x", "http://@b.example/x", "http://b.example@c.example/x", "http://b.example:80@c.example/x", "http://b.example\\@c.example/x", "http://b.example#@c.example/x", "http://b.example:x/", "http://b.example:65536/", "http://b.example:-1/", "http://b.example:80:80/", "http://b.example:080080/", "http://:80/", "http://[::1/", "http://::1/", "http://[::1]x/", "http://b example/", "http://b.example,c.example:80:1/", "http://<b>/", "http://b\"/", "http://b|c/", "http://b^c/", "http://b%zz/", "http://b%/", "http://b%0/", "http://b.example/#x", "http://b.example#",
	} {
		c.refuse(400, "target "+show(target), head(target)+hidden)
	}
	for _, o := range append([]string{" ", "\t", "\r", "\x80", "\x85", "\xa0", "\xff", "\xc3\xa4", "\xe2\x80\x8b"}, odd...) {
		c.refuse(400, "target with "+show(o), head("/x"+o+"y")+hidden)
		c.refuse(400, "target that ends with "+show(o), head("/x"+o)+hidden)
		c.refuse(400, "target that begins with "+show(o), head(o+"/x")+hidden)
		c.refuse(400, "query with "+show(o), head("/x?"+o)+hidden)
		c.refuse(400, "target's authority with "+show(o), head("http://b"+o+".example/")+hidden)
	}
	c.refuse(400, "asterisk with a query", "OPTIONS *?x HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	c.refuse(400, "asterisk of a GET", "GET * HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	c.accept("asterisk of an OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n"+get+crlf, Request{Method: "OPTIONS", Host: "a.example", Target: "*"}, aGet())
	c.accept("an empty query", head("/x?")+get+crlf, aGet(), aGet())
	for _, target := range []string{"/", "/x?y=http://b.example/", "/x??", "/x?y?z", "/http://b.example/", "/x:80", "/@b.example", "/x%23y", "/x%0d%0aHost:%20b.example", "/x%20HTTP/1.1"} {
		c.accept("target "+show(target), head(target)+get+crlf, Request{Method: "GET", Host: "a.example", Target: target}, aGet())
	}
	for target, want := range map[string]Request{
		"http://b.example/x?y":         {Host: "b.example", Target: "/x?y"},
		"http://b.example":             {Host: "b.example", Target: "/"},
		"http://b.example?y":           {Host: "b.example", Target: "/?y"},
		"HTTP://B.example:80/":         {Host: "B.example:80", Target: "/"},
		"https://b.example/":           {Host: "b.example", Target: "/"},
		"http://b.example:/x":          {Host: "b.example:", Target: "/x"},
		"http://[::1]:80/x":            {Host: "[::1]:80", Target: "/x"},
		"http://b.example/@c.example":  {Host: "b.example", Target: "/@c.example"},
		"http://b.example?@c.example/": {Host: "b.example", Target: "/?@c.example/"},
		"http://b.example/http://c/":   {Host: "b.example", Target: "/http://c/"},
	} {
		want.Method = "GET"
		c.accept("absolute-form "+show(target), head(target)+get+crlf, want, aGet())
	}
}
