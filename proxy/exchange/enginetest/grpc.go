package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lintel.dev/lintel/proxy/exchange"
)

// bytesCodec lets gRPC carry plain bytes: what is tested is the way, not
// protocol buffers.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("enginetest: %T is not *[]byte", v)
	}
	return *b, nil
}

func (bytesCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("enginetest: %T is not *[]byte", v)
	}
	*b = append([]byte(nil), data...)
	return nil
}

// testGRPC runs a real gRPC client and server through the proxy, over h2c.
func testGRPC(t *testing.T, e Engine) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.UnknownServiceHandler(answerGRPC))
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	p := start(t, e, options{way: way{exchange.HTTP2, exchange.HTTP2}, appAddr: l.Addr().String()})
	conn, err := grpc.NewClient("passthrough:///"+p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	t.Run("unary", func(t *testing.T) {
		in, out := []byte("ping"), []byte(nil)
		var head, tail metadata.MD
		out = make([]byte, 0)
		err := conn.Invoke(metadata.AppendToOutgoingContext(ctx, "x-ask", "1"), "/test.Echo/Once", &in, &out, grpc.Header(&head), grpc.Trailer(&tail))
		if err != nil || string(out) != "ping" || len(head.Get("x-head")) != 1 || len(tail.Get("x-tail")) != 1 {
			t.Errorf("%q, %v, %v, %v", out, err, head, tail)
		}
	})
	t.Run("an error is a trailers-only answer", func(t *testing.T) {
		in, out := []byte("x"), []byte(nil)
		err := conn.Invoke(ctx, "/test.Echo/Fail", &in, &out)
		if s, _ := status.FromError(err); s.Code() != codes.PermissionDenied || s.Message() != "not you" {
			t.Errorf("%v", err)
		}
	})
	t.Run("both ways", func(t *testing.T) {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Talk")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			in, out := fmt.Appendf(nil, "message %d", i), []byte(nil)
			if err := stream.SendMsg(&in); err != nil {
				t.Fatal(err)
			}
			if err := stream.RecvMsg(&out); err != nil || string(out) != string(in) {
				t.Fatalf("%q, %v", out, err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		var out []byte
		if err := stream.RecvMsg(&out); err != io.EOF {
			t.Errorf("ended with %v", err)
		}
		if len(stream.Trailer().Get("x-tail")) != 1 {
			t.Errorf("trailer %v", stream.Trailer())
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Cancelled")
		if err != nil {
			t.Fatal(err)
		}
		in, out := []byte("x"), []byte(nil)
		if err := errors.Join(stream.SendMsg(&in), stream.RecvMsg(&out)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if r := p.record("/test.Echo/Cancelled"); r.abort == nil {
			t.Errorf("finished as %+v", r)
		}
	})
}

// answerGRPC echoes every message of every method, except Fail's.
func answerGRPC(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	if method == "/test.Echo/Fail" {
		return status.Error(codes.PermissionDenied, "not you")
	}
	_ = s.SetHeader(metadata.Pairs("x-head", "1"))
	s.SetTrailer(metadata.Pairs("x-tail", "1"))
	for {
		var m []byte
		if err := s.RecvMsg(&m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
	}
}
