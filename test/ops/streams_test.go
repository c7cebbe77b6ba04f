package ops_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lintel.dev/lintel/test/kit"
)

// events is an open stream of server-sent events that counts from 0.
type events struct {
	res  *http.Response
	scan *bufio.Scanner
	next int
}

func openEvents(t testing.TB, c *kit.Chain, path, token string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	res, err := c.Request(ctx, http.MethodGet, path, token, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	e := &events{res: res, scan: bufio.NewScanner(res.Body)}
	if err := e.one(); err != nil {
		t.Fatal(err)
	}
	return e
}

// one reads the next event.
func (e *events) one() error {
	for e.scan.Scan() {
		if e.scan.Text() == "" {
			continue
		}
		if want := fmt.Sprintf("data: %d", e.next); e.scan.Text() != want {
			return fmt.Errorf("event %q, want %q", e.scan.Text(), want)
		}
		e.next++
		return nil
	}
	return fmt.Errorf("the stream ended after %d events: %v", e.next, e.scan.Err())
}

// all reads until the stream ends, which must be after n events.
func (e *events) all(n int) error {
	for e.next < n {
		if err := e.one(); err != nil {
			return err
		}
	}
	if e.scan.Scan() && strings.TrimSpace(e.scan.Text()) != "" {
		return fmt.Errorf("more than %d events: %q", n, e.scan.Text())
	}
	return e.scan.Err()
}

func openSocket(t testing.TB, c *kit.Chain, path string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+c.Edge+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

// say sends text and expects it back.
func say(ws *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := ws.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("said %q, heard %q", text, got)
	}
	return err
}
