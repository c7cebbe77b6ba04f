package smuggling

import (
	"strconv"
	"strings"
)

// chunkSizes are about the first line of a chunk (RFC 9112 section 7.1).
func (c *cases) chunkSizes() {
	for _, size := range []string{
		"", " 5", "\t5", "5 ", "5\t", "5  ", "  5  ", "+5", "-5", "--5", "-0", "+0", "0x5", "0X5", "x5", "5x", "5h", "5H", "\\x5", "#5", "$5", "%35", "5_", "_5", "0_5", "5'", "5,", "5.", "5.0", "0.5", "5:", "5=", "5/", "(5)", "\"5\"", "'5'", "[5]", "5 5", "5\x005", "\x005", "5\x00", "5\x0b", "5\x0c", "\x0b5", "\x0c5", "5\x7f", "5\x85", "5\xa0", "\xa05", "\xc2\xa05", "\xef\xbc\x95", "\xd9\xa5", "5\xe2\x80\x8b", "g", "G", "five", "5 hello", "5;", "5;;", "5 ;a", "5\t;a", "5;a=", "5; a", "5;\ta", "5;a =b", "5;a= b", "5;a ", "5;a\t",
		"5\r", "5\r\r", "5\n", "\n5", "\r\n5", "5\n;a", "5\r;a", "5;\n", "5;a\n", "5;a\r", "5;\r",
		"8000000000000000", "8000000000000005", "ffffffffffffffff", "FFFFFFFFFFFFFFFB", "fffffffffffffffb", "10000000000000000", "10000000000000005", "100000000000000000000000000000005", "00000000000000005", strings.Repeat("0", 4000) + "5", strings.Repeat("f", 4000),
	} {
		c.refuseBody("chunk size "+show(size[:min(len(size), 40)])+" of "+strconv.Itoa(len(size)), te+size+"\r\nhello\r\n0\r\n\r\n"+hidden)
	}
	for _, size := range []string{"5", "05", "005", "0000000000000005"} {
		c.accept("chunk size "+size, te+size+"\r\nhello\r\n0\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	}
	for _, size := range []string{"a", "A", "0a", "000000000000000A"} {
		c.accept("chunk size "+size+" for ten", te+size+"\r\n0123456789\r\n0\r\n\r\n"+get+crlf, aPost("0123456789"), aGet())
	}
	for _, last := range []string{"0", "00", "000", "0000000000000000"} {
		c.accept("last chunk "+last, te+"5\r\nhello\r\n"+last+"\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	}
	for _, last := range []string{" 0", "0 ", "0\t", "-0", "+0", "0x0", "0x", "0_", "00000000000000000", "0\x00", "\x000", "0;", "0;=", "0\n", "0\r\r", "0\x0b", "O", "o", ""} {
		c.refuseBody("last chunk "+show(last), te+"5\r\nhello\r\n"+last+"\r\n\r\n"+hidden)
	}
	n := strconv.FormatInt(int64(len(hidden)), 16)
	c.accept("a request within a chunk", te+n+"\r\n"+hidden+"\r\n0\r\n\r\n"+get+crlf, aPost(hidden), aGet())
	c.waits("a chunk of more than ever comes", te+"7fffffffffffffff\r\n"+hidden, aPost(hidden))
	c.waits("a chunk size without its line's end", te+"5", aPost(""))
	c.waits("a chunked body without its last chunk", te+"5\r\nhello\r\n", aPost("hello"))
	c.waits("a chunked body without its trailer section", te+"5\r\nhello\r\n0\r\n", aPost("hello"))
	c.waits("nothing of a chunked body", te, aPost(""))
}

// chunkExtensions are about what may follow a size (RFC 9112 section 7.1.1):
// a reader that takes a bare LF for their end sees another body.
func (c *cases) chunkExtensions() {
	for _, ext := range []string{
		";\nxx", ";a\nhello", ";a\n0\r\n\r\n", ";\n\r\n", ";a=b\nc", ";a=\"b\nc\"", ";a=\"b\r\n0\r\n\r\n\"", ";a=\"\r\n", ";a=\"b", ";a=\"b\\", ";a=\"b\\\r\n\"", ";a\rb", ";a\x00", ";\x00", ";a=\x00", ";a=\"\x00\"", ";a=\"\\\x00\"", ";a=\"\x7f\"", ";a\x0b", ";a\x0c", ";a\xff", ";a=\xff",
		";a=b=c", ";a==b", ";=b", ";=", ";\"a\"", ";a=b c", ";a b", ";a,b", ";a=(b)", ";a=b\"", ";a=\"b\"c", ";a=\"b\" ", ";a:b", ";a=b;", ";;a", " ;a", ";a ;b", ";a@b", ";a=[b]", ";a=\"b\";", ":a", ",a", "=a", "\"a\"", " a", "{a}", ";" + strings.Repeat("a", 2000), ";a=" + strings.Repeat("b", 2000), ";a=\"" + strings.Repeat(" ", 2000) + "\"", strings.Repeat(";a", 1000),
	} {
		c.refuseBody("extension "+show(ext[:min(len(ext), 30)])+" of "+strconv.Itoa(len(ext)), te+"5"+ext+"\r\nhello\r\n0\r\n\r\n"+hidden)
		c.refuseBody("last chunk's extension "+show(ext[:min(len(ext), 30)])+" of "+strconv.Itoa(len(ext)), te+"5\r\nhello\r\n0"+ext+"\r\n\r\n"+hidden)
	}
	c.refuseBody("extensions without end", te+strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 40)+"0\r\n\r\n"+hidden)
	for _, ext := range []string{";a", ";a=b", ";a=\"b\"", ";a=\"\"", ";a=\"b;c\"", ";a=\"0\"", ";a;b;c", ";a=b;c=\"d\\\"e\"", ";a=\"b\tc \xff\"", ";5=5", ";chunked=0", ";a=\"\\\\\""} {
		c.accept("extension "+show(ext), te+"5"+ext+"\r\nhello\r\n0"+ext+"\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	}
}

// chunkData are about the end of a chunk's data.
func (c *cases) chunkData() {
	for _, after := range []string{"", "\n", "\r", "XX", "X\r\n", " \r\n", "\t\r\n", "\r\r\n", "\n\r", "\n\n", "\r ", "\x00\r\n", "\r\x00\n", "\x0b\n", "\x85", "\\r\\n", "0\r\n", ";a\r\n", "!\r\n"} {
		c.refuseBody("data followed by "+show(after), te+"5\r\nhello"+after+"0\r\n\r\n"+hidden)
	}
	c.refuseBody("data shorter than its size", te+"6\r\nhello\r\n0\r\n\r\n"+hidden)
	c.refuseBody("data longer than its size", te+"4\r\nhello\r\n0\r\n\r\n"+hidden)
	c.refuseBody("an empty line between chunks", te+"5\r\nhello\r\n\r\n0\r\n\r\n"+hidden)
	c.refuseBody("an empty line before the first chunk", te+"\r\n5\r\nhello\r\n0\r\n\r\n"+hidden)
	c.refuseBody("a request where a chunk should be", te+hidden)
	c.refuseBody("a body that is not chunked", te+"hello=world"+crlf+crlf+hidden)
	c.accept("data that looks like the end", te+"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n"+get+crlf, aPost("0\r\n\r\n\r\n"), aGet())
	c.accept("chunks of one byte", te+"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"+get+crlf, aPost("ab"), aGet())
	c.accept("an empty chunked body", te+"0\r\n\r\n"+get+crlf, aPost(""), aGet())
}

// trailers are about what follows the last chunk (RFC 9112 section 7.1.2).
func (c *cases) trailers() {
	body := te + "5\r\nhello\r\n0\r\n"
	for _, line := range []string{
		"X : y", " X: y", "\tX: y", "X\r\n y: z", "X: y\r\n z", "X: y\x00", "X: y\x0b", "X: y\x7f", "X: y\rz: a", "X: y\nz: a", "X\n", ": y", "X", "X y: z", "X(: y", "X\x00: y", "\xc3\xa4: y", "GET " + Smuggled + " HTTP/1.1\r\nHost: a.example", "Content-Length : 44", "0", "\rX: y", "\x00",
	} {
		c.refuseBody("trailer "+show(line), body+line+"\r\n\r\n"+hidden)
	}
	c.refuseBody("the trailer section ends with LF", body+"\n"+hidden)
	c.refuseBody("a trailer line ends with LF", body+"X: y\n\r\n"+hidden)
	c.refuseBody("the trailer section ends with LF LF", body+"X: y\n\n"+hidden)
	c.refuseBody("the trailer section ends with CR CR LF", body+"X: y\r\n\r\r\n\r\n"+hidden)
	c.refuseBody("the trailer section has too many bytes", body+"X: "+strings.Repeat("y", 80<<10)+"\r\n\r\n"+hidden)
	c.refuseBody("the trailer section has too many lines", body+strings.Repeat("X: y\r\n", 200)+"\r\n"+hidden)
	for _, line := range []string{
		"X-Sum: 1", "Content-Length: 44", "content-length: 0", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Content-Length: 4\r\nTransfer-Encoding: chunked", "Content_Length: 44", "Host: b.example", "Connection: close", "Connection: keep-alive", "Upgrade: websocket", "Expect: 100-continue", "TE: trailers", "Trailer: Host", "Authorization: Bearer x", "Cookie: a=b", "X-Forwarded-For: 127.0.0.1", "Content-Type: text/html", "Content-Encoding: gzip", "Range: bytes=0-1", "Cache-Control: no-cache", "Max-Forwards: 0", "Proxy-Authorization: x", "If-None-Match: *", "Forwarded: for=b",
	} {
		c.accept("trailer taken: "+show(line), body+line+"\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	}
	for _, names := range []string{"Content-Length", "transfer-encoding", "Trailer", "X, Content-Length", "a b", "X;Y", "\"X\"", "X\xff"} {
		c.refuse(400, "announced trailer "+show(names), post+"Transfer-Encoding: chunked\r\nTrailer: "+names+"\r\n\r\n0\r\n\r\n"+hidden)
	}
}

// hosts are about Host (RFC 9112 section 3.2, RFC 9110 section 7.2).
func (c *cases) hosts() {
	line := func(lines string) string { return "GET /x HTTP/1.1\r\n" + lines + "\r\n" + hidden }
	c.refuse(400, "no Host", line(""))
	c.refuse(400, "no Host but a field", line("X: y\r\n"))
	c.refuse(400, "no Host with an absolute-form", "GET http://b.example/x HTTP/1.1\r\n\r\n"+hidden)
	for name, two := range map[string]string{"same": "Host: a.example\r\nHost: a.example\r\n", "other": "Host: a.example\r\nHost: b.example\r\n", "the second empty": "Host: a.example\r\nHost:\r\n", "the first empty": "Host:\r\nHost: a.example\r\n", "other case": "Host: a.example\r\nhOST: b.example\r\n", "far apart": "Host: a.example\r\nX: y\r\nZ: a\r\nHost: b.example\r\n", "three": "Host: a.example\r\nHost: a.example\r\nHost: a.example\r\n"} {
		c.refuse(400, "two Hosts: "+name, line(two))
		c.refuse(400, "two Hosts with an absolute-form: "+name, "GET http://a.example/x HTTP/1.1\r\n"+two+crlf+hidden)
		c.refuse(400, "two Hosts in HTTP/1.0: "+name, "GET /x HTTP/1.0\r\n"+two+crlf+hidden)
	}
	for _, host := range []string{
		"", "a b", "a.example b.example", "a.example, b.example:80:1", "a.example/", "a.example/x", "/a.example", "http://a.example", "//a.example", "a.example?x", "a.example#x", "u@a.example", "u:p@a.example", "@a.example", "a.example@b.example", "a.example:x", "a.example:80x", "a.example:8 0", "a.example: 80", "a.example :80", "a.example:-1", "a.example:+80", "a.example:65536", "a.example:99999999", "a.example:80:80", "a.example::80", ":80", ":", "[::1", "::1", "[]", "[::1]x", "[::1]:x", "[::1]80", "[a.example]", "[::1%25eth0]", "a\\b", "a.example\\", "<a>", "a|b", "a^b", "a`b", "{a}", "\"a.example\"", "a%zz", "a%", "a%0", "a\x80", "\xc3\xa4.example", "a\xe3\x80\x82example", "a.example\xa0", "a.example\x85",
	} {
		c.refuse(400, "Host "+show(host), line("Host: "+host+crlf))
		if host != "" {
			c.refuse(400, "Host "+show(host)+" with an absolute-form", "GET http://b.example/x HTTP/1.1\r\nHost: "+host+crlf+crlf+hidden)
		}
	}
	for _, o := range odd {
		c.refuse(400, "Host with "+show(o), line("Host: a"+o+".example\r\n"))
	}
	for _, bad := range []string{"Host : a.example", " Host: a.example", "Host\t: a.example", "Host a.example", "Host:\r\n a.example", "H\x00ost: a.example", "Host\x00: a.example", "X: y\rHost: a.example"} {
		c.refuse(400, "Host line "+show(bad), line(bad+crlf))
		c.refuse(400, "a second Host line "+show(bad), line("Host: a.example\r\n"+bad+crlf))
	}
	for _, host := range []string{"a.example:80", "a.example:", "A.EXAMPLE", "a.example.", "1.2.3.4", "[::1]:80", "a_b", "xn--a"} {
		c.accept("Host "+host, "GET /x HTTP/1.1\r\nHost: "+host+"\r\n\r\n"+get+crlf, Request{Method: "GET", Host: host, Target: "/x"}, aGet())
	}
	c.accept("the target's authority wins over Host", "GET http://b.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n"+get+crlf, Request{Method: "GET", Host: "b.example", Target: "/x"}, aGet())
	c.accept("the target's authority with an empty Host", "GET http://b.example/x HTTP/1.1\r\nHost:\r\n\r\n"+get+crlf, Request{Method: "GET", Host: "b.example", Target: "/x"}, aGet())
	for _, other := range []string{"X-Forwarded-Host: b.example", "X-Host: b.example", "Forwarded: host=b.example", "X-Original-Host: b.example", "Hosts: b.example", "HTTP_HOST: b.example"} {
		c.accept("no Host: "+other, get+other+crlf+crlf+get+crlf, aGet(), aGet())
	}
}

// connections are about Connection and Upgrade (RFC 9110 sections 7.6.1, 7.8).
func (c *cases) connections() {
	n := strconv.Itoa(len(hidden))
	for _, options := range []string{"Host", "Content-Length", "content-length, host", "Transfer-Encoding", "Connection", "close-not", "X-A", "Expect", ",,keep-alive,,", "", "Authorization, X-Forwarded-For"} {
		c.accept("Connection: "+options, post+"Connection: "+options+"\r\nContent-Length: "+n+"\r\n\r\n"+hidden+get+crlf, aPost(hidden), aGet())
	}
	c.accept("Connection nominates Transfer-Encoding", post+"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	for _, options := range []string{"a b", "close;x", "close keep-alive", "\"close\"", "close:", "cl\xc3\xb6se", "close\xa0", "(close)", "a=b", "@", "keep-alive, a b"} {
		c.refuse(400, "Connection: "+show(options), get+"Connection: "+options+"\r\n\r\n"+hidden)
	}
	for _, options := range []string{"close", "Close", "keep-alive, close", "close, keep-alive", " close ,", "upgrade, close"} {
		c.accept("nothing after Connection: "+options, get+"Connection: "+options+"\r\n\r\n"+hidden, aGet())
	}
	c.accept("nothing after two Connection lines", get+"Connection: keep-alive\r\nConnection: close\r\n\r\n"+hidden, aGet())
	old := "GET /x HTTP/1.0\r\nHost: a.example\r\n"
	c.accept("nothing after HTTP/1.0", old+crlf+hidden, aGet())
	c.accept("nothing after HTTP/1.0 with Proxy-Connection", old+"Proxy-Connection: keep-alive\r\n\r\n"+hidden, aGet())
	c.accept("HTTP/1.0 that keeps alive", old+"Connection: Keep-Alive\r\n\r\n"+get+crlf, aGet(), aGet())
	c.accept("HTTP/1.0 with a length", "POST /x HTTP/1.0\r\nHost: a.example\r\nContent-Length: "+n+"\r\n\r\n"+hidden+hidden, aPost(hidden))
	c.accept("HTTP/1.0 without a length has no body", "POST /x HTTP/1.0\r\nHost: a.example\r\n\r\n"+hidden, aPost(""))
	for _, protocol := range []string{"h2c", "H2C", "h2c, websocket", "websocket, h2c", "h2c ", "", "a b", "/", "x/"} {
		c.accept("Upgrade: "+protocol, get+"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: "+protocol+"\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"+get+crlf, aGet(), aGet())
	}
	c.accept("Upgrade that Connection does not name", get+"Upgrade: websocket\r\n\r\n"+get+crlf, aGet(), aGet())
	c.accept("Upgrade with a body", post+"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: "+n+"\r\n\r\n"+hidden+get+crlf, aPost(hidden), aGet())
	c.accept("two Upgrades", get+"Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n"+get+crlf, aGet(), aGet())
	c.accept("a preface after a request", get+crlf+get+crlf, aGet(), aGet())
	c.refuseNext(505, "the HTTP/2 preface after a request", get+crlf+"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
}

// expectations are about Expect (RFC 9110 section 10.1.1): a service that
// answers before the body leaves it to be read as the next request.
func (c *cases) expectations() {
	n := strconv.Itoa(len(hidden))
	for _, value := range []string{"", "100", "100-continue,", "100-continue, 100-continue", "100-continue;a=b", "100-continue=", "y 100-continue", "x, 100-continue", "100-continue y", "100_continue", "100 continue", "100-continued", "00100-continue", "\"100-continue\"", "200-ok", "100-continue\xa0", "\x85100-continue", "gzip", "close"} {
		c.refuse(417, "Expect: "+show(value), post+"Expect: "+value+"\r\nContent-Length: "+n+"\r\n\r\n"+hidden)
	}
	c.refuse(417, "two Expects", post+"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden)
	c.refuse(417, "Expect of something without a body", get+"Expect: x\r\n\r\n"+hidden)
	c.refuse(400, "Expect folded", post+"Expect:\r\n 100-continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden)
	c.refuse(400, "Expect with a space before the colon", post+"Expect : 100-continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden)
	c.refuse(400, "Expect with a vertical tab", post+"Expect: \x0b100-continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden)
	c.accept("Expect of a GET without a body", get+"Expect: 100-continue\r\n\r\n"+get+crlf, aGet(), aGet())
	c.accept("Expect in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden+hidden, aPost(hidden))
	c.accept("Expect, and the body at once", post+"Expect: 100-Continue\r\nContent-Length: "+n+"\r\n\r\n"+hidden+get+crlf, aPost(hidden), aGet())
	c.accept("Expect, and chunks at once", post+"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"+get+crlf, aPost("hello"), aGet())
	c.accept("look-alike of Expect", post+"Expect-CT: max-age=0\r\nContent-Length: "+n+"\r\n\r\n"+hidden+get+crlf, aPost(hidden), aGet())
}

// pipelines are about what follows a request on its connection.
func (c *cases) pipelines() {
	one := get + crlf
	c.accept("two requests", one+one, aGet(), aGet())
	c.accept("two requests with an empty line between", one+crlf+one, aGet(), aGet())
	c.accept("an empty line after a body", post+"Content-Length: 5\r\n\r\nhello\r\n"+one, aPost("hello"), aGet())
	c.accept("a request for another host", one+"GET /y HTTP/1.1\r\nHost: b.example\r\n\r\n", aGet(), Request{Method: "GET", Host: "b.example", Target: "/y"})
	c.accept("three with bodies", post+"Content-Length: 5\r\n\r\nhello"+te+"5\r\nhello\r\n0\r\n\r\n"+one, aPost("hello"), aPost("hello"), aGet())
	c.refuseNext(400, "two empty lines between", one+"\r\n\r\n"+one)
	c.refuseNext(400, "LF between", one+"\n"+one)
	c.refuseNext(400, "a space between", one+" "+one)
	c.refuseNext(400, "NUL between", one+"\x00"+one)
	c.refuseNext(400, "a word between", one+"x=y"+one)
	c.refuseNext(400, "a chunk's end between", one+"0\r\n\r\n"+one)
	c.refuseNext(400, "a status line between", one+"HTTP/1.1 200 OK\r\n\r\n"+one)
	c.refuseNext(400, "a field line between", one+"X: y\r\n\r\n"+one)
	c.refuseNext(400, "a second request with both framings", one+post+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuseNext(400, "a second request without Host", one+"GET "+Smuggled+" HTTP/1.1\r\n\r\n")
	c.refuseNext(400, "a second request cut by LF", one+"GET "+Smuggled+" HTTP/1.1\nHost: a.example\r\n\r\n")
	c.refuseNext(405, "CONNECT after a request", one+"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n"+hidden)
	c.waits("half a request after a whole one", one+get, aGet())
	c.waits("half a request line after a whole one", one+"GET "+Smuggled, aGet())
}
