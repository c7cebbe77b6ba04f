package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"lintel.dev/lintel/test/kit"
)

// grpcApp answers gRPC's own interoperability service.
type grpcApp struct {
	testgrpc.UnimplementedTestServiceServer
	cancelled chan struct{} // gets one for each stream whose caller went away
}

func serveGRPC(a *kit.App) *grpcApp {
	g := &grpcApp{cancelled: make(chan struct{}, 16)}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, g)
	a.GRPC = s
	return g
}

func (g *grpcApp) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if s := in.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.Code), s.Message)
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-after", "all"))
	return &testgrpc.SimpleResponse{Username: fmt.Sprint(md.Get("x-user-id")), Payload: in.Payload}, nil
}

func (g *grpcApp) FullDuplexCall(s grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	for {
		in, err := s.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			g.cancelled <- struct{}{}
			return err
		}
		if err := s.Send(&testgrpc.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

func TestGRPCGoesThroughTheMesh(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{Routes: `  - name: grpc
    match: {path: /grpc.testing.TestService/*}
    policies: [user]
    service: orders
`})
	apps := map[string]*grpcApp{"orders": serveGRPC(c.Orders.App), "inventory": serveGRPC(c.Inventory.App)}
	for _, way := range []struct{ name, addr, authority, app, user string }{
		{"client to ingress to sidecar to app", c.Edge, "edge.test", "orders", "[ada]"},
		{"app to its sidecar to another's to app", c.Orders.App.Outbound, "inventory", "inventory", "[]"},
	} {
		t.Run(way.name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+way.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(way.authority))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			client := testgrpc.NewTestServiceClient(conn)
			ctx := bounded(t)
			if way.app == "orders" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.Token(nil))
			}
			t.Run("unary", func(t *testing.T) {
				var trailer metadata.MD
				out, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte("hello")}}, grpc.Trailer(&trailer))
				if err != nil || string(out.GetPayload().GetBody()) != "hello" || out.GetUsername() != way.user {
					t.Fatalf("%v %v", out, err)
				}
				if got := trailer.Get("x-after"); len(got) != 1 || got[0] != "all" {
					t.Errorf("trailers %v", trailer)
				}
			})
			t.Run("status", func(t *testing.T) {
				_, err := client.UnaryCall(ctx, &testgrpc.SimpleRequest{ResponseStatus: &testgrpc.EchoStatus{Code: int32(codes.FailedPrecondition), Message: "not ö now"}})
				if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not ö now" {
					t.Errorf("%v", err)
				}
			})
			t.Run("bidirectional stream", func(t *testing.T) {
				s, err := client.FullDuplexCall(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for i := range 20 { // each waits for the one before: nothing may be held back
					want := fmt.Sprint("message ", i)
					if err := s.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: []byte(want)}}); err != nil {
						t.Fatal(err)
					}
					in, err := s.Recv()
					if err != nil || string(in.GetPayload().GetBody()) != want {
						t.Fatalf("%v %v", in, err)
					}
				}
				if err := s.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Recv(); !errors.Is(err, io.EOF) {
					t.Errorf("the stream ended with %v", err)
				}
			})
			t.Run("a cancelled stream is cancelled at the app", func(t *testing.T) {
				cancelled, cancel := context.WithCancel(ctx)
				s, err := client.FullDuplexCall(cancelled)
				if err != nil {
					t.Fatal(err)
				}
				_ = s.Send(&testgrpc.StreamingOutputCallRequest{})
				if _, err := s.Recv(); err != nil {
					t.Fatal(err)
				}
				cancel()
				select {
				case <-apps[way.app].cancelled:
				case <-ctx.Done():
					t.Error("the app never heard of it")
				}
			})
		})
	}
	t.Run("refusals are gRPC statuses", func(t *testing.T) {
		conn, err := grpc.NewClient("passthrough:///"+c.Edge, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = testgrpc.NewTestServiceClient(conn).UnaryCall(bounded(t), &testgrpc.SimpleRequest{})
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("without a token: %v", err)
		}
		err = conn.Invoke(bounded(t), "/no.such.Service/Call", &testgrpc.SimpleRequest{}, &testgrpc.SimpleResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("without a route: %v", err)
		}
	})
}
