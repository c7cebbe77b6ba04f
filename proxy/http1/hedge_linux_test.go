package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/cluster"
	"lintel.dev/lintel/proxy/exchange"
)

// An event loop does not wait for the body of a second attempt's answer, of which
// a chunk's size line has come and nothing else.
func TestALoopDoesNotWaitForASecondAttempt(t *testing.T) {
	var asked atomic.Int32
	sent, goOn := make(chan bool), make(chan bool)
	script := func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		if asked.Add(1) == 1 {
			_, _ = br.ReadByte() // never answered
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000004\r\n")
		close(sent)
		<-goOn
		_, _ = io.WriteString(c, "late\r\n0\r\n\r\n")
		_, _ = br.ReadByte()
	}
	cl := cluster.New(cluster.Config{Service: "s", Transport: NewTransport(exchange.TransportConfig{})})
	t.Cleanup(func() { _ = cl.Close() })
	cl.Replace([]cluster.Endpoint{{Address: scripted(t, script)}, {Address: scripted(t, script)}})
	o := &cluster.Options{Timeout: waitLimit, Hedge: cluster.HedgeAfter(10*time.Millisecond, []string{"GET"})}
	_, address := running(t, Options{}, exchange.ServerConfig{}, handler{serve: func(x *exchange.Exchange) {
		if x.Request.Path == "/other" {
			x.Answer(204, "", nil)
		} else if f := cl.Forward(x, o); f != nil {
			x.Answer(f.Status, "", []byte(f.Code))
		}
	}})
	var others []*peer // some on every loop
	for range 8 * runtime.GOMAXPROCS(0) {
		others = append(others, dial(t, address))
	}
	all := func() {
		for _, p := range others {
			p.send("GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
			if res, _ := p.answer("GET"); res.StatusCode != 204 {
				t.Error(res.Status)
			}
		}
	}
	all()
	p := dial(t, address)
	p.send("GET /hedged HTTP/1.1\r\nHost: a\r\n\r\n")
	receive(t, "the second attempt's size line", sent)
	time.Sleep(50 * time.Millisecond) // it has been read
	stuck := time.AfterFunc(waitLimit/10, func() { close(goOn) })
	if all(); stuck.Stop() {
		close(goOn)
	} else {
		t.Error("others were not answered meanwhile")
	}
	if res, body := p.answer("GET"); res.StatusCode != 200 || body != "late" {
		t.Errorf("%s %q", res.Status, body)
	}
}
