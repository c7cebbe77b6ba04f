package smuggling

import "strconv"

// lengths are about Content-Length alone (RFC 9112 section 6.3, RFC 9110
// section 8.6).
func (c *cases) lengths() {
	n := strconv.Itoa(len(hidden))
	length := func(v string) string { return post + "Content-Length:" + v + crlf + crlf + hidden }
	for _, v := range []string{
		"", " ", " ,", " 0,", " ,0", " 0, 0", " 0," + n, " " + n + ", 0", " " + n + ", " + n, " " + n + "," + n, " +" + n, " -" + n, " -0", " +0", " --1",
		" 0x0", " 0x2c", " 0X1", " 2c", " 0b1", " 0o7", " 1e1", " 1E2", " 1.0", " 0.0", " .0", " 1_0", " 1'0", " 1 0", " 1\t0", " 0 0", " \"0\"", " '0'", " 0;", " 0; a=b", " (0)", " 0 (comment)", " $0",
		" 9223372036854775808", " 18446744073709551616", " 18446744073709551615", " 99999999999999999999", " 4294967296 4294967296", " 00000000000000000000", " 000000000000000000000000000000000" + n,
		" NaN", " Infinity", " null", " undefined", " chunked", " \xc2\xa00", " 0\xc2\xa0", " \xa00", " 0\x85", " \xd9\xa0", " \xef\xbc\x90", " 0\xe2\x80\x8b", " %30", " \\x30", " 0\\r\\n",
	} {
		c.refuse(400, "length"+show(v), length(v))
	}
	for _, o := range odd {
		c.refuse(400, "length with "+show(o)+" before", length(" "+o+"0"))
		c.refuse(400, "length with "+show(o)+" after", length(" 0"+o))
	}
	for name, second := range map[string]string{"same": "0", "other": n, "empty": "", "bad": "x"} {
		c.refuse(400, "two lengths, the second "+name, post+"Content-Length: 0\r\nContent-Length: "+second+crlf+crlf+hidden)
		c.refuse(400, "two lengths, the first "+name, post+"Content-Length: "+second+"\r\ncontent-length: 0\r\n\r\n"+hidden)
	}
	c.refuse(400, "two lengths far apart", post+"Content-Length: 0\r\nX-A: b\r\nX-B: c\r\nCONTENT-LENGTH: 0\r\n\r\n"+hidden)
	c.refuse(400, "three lengths", post+"Content-Length: 0\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"+hidden)
	c.refuse(400, "two lengths of a GET", get+"Content-Length: 0\r\nContent-Length: "+n+crlf+crlf+hidden)

	c.accept("length of all that follows", length(" "+n), aPost(hidden))
	c.accept("length with leading zeros", length(" 000"+n), aPost(hidden))
	c.accept("length of nineteen digits with leading zeros", length(" 00000000000000000"+n), aPost(hidden))
	c.accept("length between tabs", length("\t "+n+" \t"), aPost(hidden))
	c.accept("length without white space", length(n), aPost(hidden))
	c.accept("length of a GET", get+"Content-Length: "+n+crlf+crlf+hidden, Request{Method: "GET", Host: "a.example", Target: "/x", Body: hidden})
	c.accept("no length and no coding is no body", post+crlf+"GET /y HTTP/1.1\r\nHost: b.example\r\n\r\n", aPost(""), Request{Method: "GET", Host: "b.example", Target: "/y"})
	c.accept("length zero", post+"Content-Length: 0\r\n\r\nGET /y HTTP/1.1\r\nHost: b.example\r\n\r\n", aPost(""), Request{Method: "GET", Host: "b.example", Target: "/y"})
	c.accept("CL.0", post+"Content-Length: "+n+"\r\nConnection: keep-alive\r\n\r\n"+hidden+get+crlf, aPost(hidden), aGet())
	c.waits("length of more than ever comes", post+"Content-Length: 9223372036854775807\r\n\r\n"+hidden, aPost(hidden))
	c.waits("a length longer than what came", post+"Content-Length: "+strconv.Itoa(len(hidden)+1)+"\r\n\r\n"+hidden, aPost(hidden))
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "TRACKED", "POST"} {
		c.accept("0.CL "+method, method+" /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: "+n+crlf+crlf+hidden, Request{Method: method, Host: "a.example", Target: "/x", Body: hidden})
	}
}

// codings are about Transfer-Encoding alone (RFC 9112 section 6.1): the
// obfuscations of TE.TE.
func (c *cases) codings() {
	coding := func(line string) string { return post + line + crlf + crlf + "0\r\n\r\n" + hidden }
	for _, v := range []string{
		"", " ", " ,", " chunked,", " ,chunked", " , chunked", " chunked, ", " chunked,,", " chunked, chunked", " chunked,chunked", " chunked, identity", " chunked, gzip", " chunked, chunked, gzip",
		" chunked;", " chunked;a", " chunked;a=b", " chunked;q=1", " chunked ; a=b", " \"chunked\"", " (chunked)", " chunked chunked", " chunked\tchunked", " chunked identity", " chun ked", " chunked (x)",
		" chunked\xa0", " \xa0chunked", " chunked\x85", " \xc2\x85chunked", " chunked\xff", " \xef\xbb\xbfchunked", " chun\xe2\x80\x8bked", " chunKed\xe2\x84\xaa", " chun\xe2\x84\xaaed", " {chunked}", " [chunked]", " <chunked>", " chunked:", " :chunked", " =chunked", " chunked=", " chunked/1", " chunked@", " \\chunked", " gzip;q=1, chunked", " gzip chunked", " gzip, ,chunked", " gzip,",
	} {
		c.refuse(400, "coding"+show(v), coding("Transfer-Encoding:"+v))
	}
	for _, v := range []string{" xchunked", " 'chunked'", " chunkedx", " x-chunked", " chunk", " chunke", " cchunked", " identity", " gzip", " deflate", " compress", " x-gzip", " br", " gzip, chunked", " identity, chunked", " deflate,\tgzip", " cow", " cow, chunked", " CHUNKE", " chunked.", " chunked-", " chunked_", " chunked!", " *", " null", " none", " 0", " false", " chunked'", " `chunked`", " %63hunked", " chunked\x23"} {
		c.refuse(501, "coding"+show(v), coding("Transfer-Encoding:"+v))
	}
	for _, o := range append([]string{"\r", "\n"}, odd...) {
		c.refuse(400, "coding with "+show(o)+" before", coding("Transfer-Encoding: "+o+"chunked"))
		c.refuse(400, "coding with "+show(o)+" after", coding("Transfer-Encoding: chunked"+o))
		c.refuse(400, "coding with "+show(o)+" inside", coding("Transfer-Encoding: chun"+o+"ked"))
		c.refuse(400, "coding with "+show(o)+" before the colon", coding("Transfer-Encoding"+o+": chunked"))
		c.refuse(400, "coding with "+show(o)+" before the name", coding(o+"Transfer-Encoding: chunked"))
		c.refuse(400, "coding with "+show(o)+" inside the name", coding("Transfer-"+o+"Encoding: chunked"))
		c.refuse(400, "coding with "+show(o)+" at the end of the line before", coding("X-A: b"+o+"Transfer-Encoding: chunked"))
	}
	for _, line := range []string{
		"Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked", "\tTransfer-Encoding: chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding:\r\n\tchunked",
		"Transfer-Encoding: \r\n chunked", "Transfer-Encoding\r\n : chunked", "Transfer-Encoding\r\n: chunked", "Transfer-\r\n Encoding: chunked", "X: y\r\n Transfer-Encoding: chunked", "X: y\r\n\tTransfer-Encoding: chunked",
		"X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "Transfer-Encoding chunked", "Transfer-Encoding", "Transfer-Encoding=chunked", "Transfer-Encoding; chunked", ":Transfer-Encoding: chunked",
		"Transfer Encoding: chunked", "Transfer_Encoding: chunked", "Transfer.Encoding: chunked", "transfer_encoding: chunked", "\"Transfer-Encoding\": chunked", "Transfer-Encoding\xa0: chunked", "\xef\xbb\xbfTransfer-Encoding: chunked", "Transfer\xe2\x80\x90Encoding: chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer-Encoding:\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\ntransfer-encoding:", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", "Transfer-Encoding: chunked\r\nX: y\r\nTRANSFER-ENCODING: chunked",
	} {
		c.refuse(400, "coding line "+show(line), coding(line))
	}
	for _, v := range []string{"Transfer-Encoding: chunked", "transfer-encoding:chunked", "TRANSFER-ENCODING: CHUNKED", "Transfer-Encoding: \t chunked \t", "tRANSFER-eNCODING: cHuNkEd"} {
		c.accept("coding line taken: "+show(v), post+v+crlf+crlf+"0\r\n\r\n"+get+crlf, aPost(""), aGet())
	}
	for _, line := range []string{"X-Transfer-Encoding: chunked", "Transfer-Encodings: chunked", "TE: chunked", "Content-Transfer-Encoding: chunked", "Transfer-Encodin: chunked", "X: Transfer-Encoding: chunked", "Foo: bar, Transfer-Encoding: chunked", "Transfer: Encoding: chunked", "Encoding: chunked"} {
		c.accept("no coding line: "+show(line), post+line+crlf+crlf+get+crlf, aPost(""), aGet())
	}
	for _, line := range []string{"Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Transfer-Encoding: x", "Connection: keep-alive\r\nTransfer-Encoding: chunked", "Content-Length: 0\r\nTransfer-Encoding: chunked"} {
		c.refuse(400, "HTTP/1.0 with "+show(line), "POST /x HTTP/1.0\r\nHost: a.example\r\n"+line+crlf+crlf+"0\r\n\r\n"+hidden)
	}
}

// both are about messages that state their end twice.
func (c *cases) both() {
	n := strconv.Itoa(len(hidden))
	for _, length := range []string{"0", "5", "6", "4", n, "x", "", "-1"} {
		for _, coding := range []string{"chunked", "CHUNKED", "identity", "xchunked", "gzip, chunked", "", "chunked, identity", "\"chunked\""} {
			c.refuse(400, "CL.TE "+show(length)+" "+show(coding), post+"Content-Length: "+length+"\r\nTransfer-Encoding: "+coding+crlf+crlf+"0\r\n\r\n"+hidden)
			c.refuse(400, "TE.CL "+show(coding)+" "+show(length), post+"Transfer-Encoding: "+coding+"\r\nContent-Length: "+length+crlf+crlf+"5\r\nhello\r\n0\r\n\r\n"+hidden)
		}
	}
	c.refuse(400, "CL.TE of a GET", get+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "CL.TE, the coding folded", post+"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "CL.TE, the coding behind a bare CR", post+"Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "CL.TE, the coding behind a bare LF", post+"Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "CL.TE with a space before the colon", post+"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "CL.TE with an underscore", post+"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "TE.CL with an underscore", post+"Content_Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
	c.refuse(400, "both, nominated by Connection", post+"Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden)
}
