package http1

import (
	"testing"

	"lintel.dev/lintel/proxy/exchange"
)

// A request and its answer, once through the codec both ways, allocate nothing
// after the first time.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	var (
		head   = []byte(browserHead)
		upload = []byte("POST http://b.example/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nExpect: 100-continue\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
		body   = []byte("5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: b\r\n\r\n")
		answer = []byte(serviceHead)
		buf    = make([]byte, 0, 4<<10)
		data   = make([]byte, 64)
		q      exchange.Request
		r      exchange.Response
	)
	once := func() {
		for _, in := range [][]byte{head, upload} {
			q.Header.Reset()
			q.Trailer.Reset()
			q = exchange.Request{Header: q.Header, Trailer: q.Trailer}
			end, _, _ := headEnd(in, 0)
			f, fault := parseRequest(in[:end], someLimits, &q)
			if fault != nil {
				panic(fault)
			}
			if _, err := appendRequest(buf, &q, f); err != nil {
				panic(err)
			}
		}
		var d chunkDecoder
		used, n, done, err := d.decode(body, data)
		if n != 5 || !done || err != nil {
			panic(err)
		}
		if _, done, err := parseTrailer(body[used:], someLimits, &q.Trailer); !done || err != nil || q.Trailer.Len() != 1 {
			panic(err)
		}
		r.Header.Reset()
		f, fault := parseResponse(answer, someLimits, "GET", &r)
		if fault != nil {
			panic(fault)
		}
		if _, err := appendResponse(buf, &r, responseOptions{length: f.length, date: benchDate, close: true}); err != nil {
			panic(err)
		}
		appendLastChunk(appendChunkHeader(appendInterim(buf, 103, &r.Header), 5), &q.Trailer)
	}
	if n := testing.AllocsPerRun(200, once); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
