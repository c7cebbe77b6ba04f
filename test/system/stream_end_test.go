package system

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lintel.dev/lintel/test/kit"
)

const grpcRoute = `  - name: grpc
    match: {path: /grpc.testing.TestService/*}
    policies: [user]
    service: orders
`

// dialSocket opens a WebSocket that echoes, through the ingress.
func dialSocket(t *testing.T, c *kit.Chain, path, token string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.Dial(bounded(t), "ws://"+c.Edge+path, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	if err := ws.Write(bounded(t), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, b, err := ws.Read(bounded(t)); err != nil || string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}
	return ws
}

// openDuplex opens a gRPC stream that echoes, through the ingress.
func openDuplex(t *testing.T, c *kit.Chain) grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse] {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.Edge, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("edge.test"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s, err := testgrpc.NewTestServiceClient(conn).FullDuplexCall(metadata.AppendToOutgoingContext(bounded(t), "authorization", "Bearer "+c.Token(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Recv(); err != nil || string(in.GetPayload().GetBody()) != "hello" {
		t.Fatalf("%v %v", in, err)
	}
	return s
}

func TestStreamsEndWhenPolicySays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		streams, identity string
		grpc              codes.Code
		close             websocket.StatusCode
	}{
		"after max":           {"{max: 1s}", "", codes.Unavailable, websocket.StatusGoingAway},
		"with the Txn-Token":  {"{until: token}", "  txn_token: {lifetime: 2s}\n", codes.Unauthenticated, websocket.StatusPolicyViolation},
		"whichever is sooner": {"{max: 1h, until: [token, certificate]}", "  txn_token: {lifetime: 2s}\n", codes.Unauthenticated, websocket.StatusPolicyViolation},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := kit.StartChain(t, kit.ChainOptions{Routes: grpcRoute, Identity: tc.identity, OrdersAllow: "[{from: [ingress]}]\n    streams: " + tc.streams})
			serveGRPC(c.Orders.App)
			ws, duplex := dialSocket(t, c, "/orders/ws", c.Token(nil)), openDuplex(t, c)
			if _, _, err := ws.Read(bounded(t)); websocket.CloseStatus(err) != tc.close {
				t.Errorf("the WebSocket ended with %v", err)
			}
			if _, err := duplex.Recv(); status.Code(err) != tc.grpc {
				t.Errorf("the gRPC stream ended with %v", err)
			}
			res, err := c.Request(bounded(t), "GET", "/orders/ticks?n=1000&every=50", c.Token(nil), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			begun := time.Now()
			b, err := io.ReadAll(res.Body)
			if err == nil || len(b) == 0 || time.Since(begun) > 20*time.Second {
				t.Errorf("the HTTP/1.1 stream ended with %v after %d bytes: it must be seen to be cut", err, len(b))
			}
			if status, _ := c.Get("/orders/x", c.Token(nil)); status != http.StatusOK {
				t.Errorf("the next call: %d", status)
			}
		})
	}
}

func TestStreamsEndWhenTheirCallerLosesItsPermission(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: grpcRoute, OrdersAllow: "[{from: [ingress]}]\n    streams: {recheck: 200ms}"})
	serveGRPC(c.Orders.App)
	ws, duplex := dialSocket(t, c, "/orders/ws", c.Token(nil)), openDuplex(t, c)
	res, err := c.Request(bounded(t), "GET", "/orders/ticks?n=100000&every=50", c.Token(nil), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	r := bufio.NewReader(res.Body)
	for range 20 { // five rechecks: it may go on
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	kit.Replace(t, c.Orders.File, strings.Replace(c.Orders.Config, "from: [ingress]", "from: [nobody]", 1))
	if _, _, err := ws.Read(bounded(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the WebSocket ended with %v", err)
	}
	if _, err := duplex.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("the gRPC stream ended with %v", err)
	}
	if _, err := io.ReadAll(r); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the HTTP/1.1 stream ended with %v", err)
	}
}
