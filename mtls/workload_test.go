package mtls

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestTheSocketMayAppearLate(t *testing.T) {
	ca := openCA(t, CAConfig{})
	socket := socketPath(t)
	type result struct {
		src Source
		err error
	}
	done := make(chan result, 1)
	var log logBuffer
	go func() {
		src, err := Workload(context.Background(), WorkloadConfig{Address: "unix://" + socket, Wait: 40 * time.Second, Log: log.logger()})
		done <- result{src, err}
	}()
	eventually(t, "it has tried in vain and says what it waits for", func() bool {
		s := log.String()
		return strings.Contains(s, "waiting for an identity") && strings.Contains(s, socket) && strings.Contains(s, "identity source failed")
	})
	select {
	case r := <-done:
		t.Fatalf("it did not wait: %v", r.err)
	default:
	}
	server := must[*Server](t)(ca.Serve(context.Background(), socket, webID))
	defer server.Close()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.src.Close()
	if st := r.src.Status(); st.ID != webID || st.Source != "workload-api" || st.Err != "" {
		t.Errorf("status %+v", st)
	}
}

func TestTheWaitIsBounded(t *testing.T) {
	socket := socketPath(t)
	_, err := Workload(context.Background(), WorkloadConfig{Address: socket, Wait: 300 * time.Millisecond})
	wantError(t, err, "waited", "SPIFFE Workload API at unix://"+socket, "configured", "is the agent running")

	t.Setenv(workloadapi.SocketEnv, "unix://"+socket)
	ctx, cancel := context.WithCancelCause(context.Background())
	stopped := errors.New("the process was told to stop")
	time.AfterFunc(100*time.Millisecond, func() { cancel(stopped) })
	_, err = Workload(ctx, WorkloadConfig{})
	wantError(t, err, workloadapi.SocketEnv, socket)
	if !errors.Is(err, stopped) {
		t.Errorf("%v does not tell why the wait ended", err)
	}
}

func TestWorkloadAddresses(t *testing.T) {
	t.Setenv(workloadapi.SocketEnv, "")
	for configured, part := range map[string]string{
		"":                    "set identity.address or SPIFFE_ENDPOINT_SOCKET",
		"http://127.0.0.1:80": "expected unix:///path or tcp://ip:port",
		"run/agent.sock":      "run/agent.sock",
		"tcp://localhost:1":   "must be an IP:port",
	} {
		_, err := Workload(context.Background(), WorkloadConfig{Address: configured, Wait: time.Second})
		wantError(t, err, part)
	}
	got, _, err := workloadAddress("/run/spire agent.sock")
	if err != nil || got != "unix:///run/spire%20agent.sock" {
		t.Errorf("%q, %v", got, err)
	}
	_, err = Workload(context.Background(), WorkloadConfig{Address: "/x", ID: "web"})
	wantError(t, err, "wanted identity", `"web" is not a SPIFFE ID`)
}

// agent offers several identities, as SPIRE does, and may fail first.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	response *workload.X509SVIDResponse
	failures chan error
}

func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	select {
	case err := <-a.failures:
		return err
	default:
	}
	if err := stream.Send(a.response); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func startAgent(t *testing.T, ca *CA, failures chan error, idsAndHints ...string) (socket string) {
	t.Helper()
	return (&agent{response: &workload.X509SVIDResponse{}, failures: failures}).start(t, ca, idsAndHints...)
}

func (a *agent) start(t *testing.T, ca *CA, idsAndHints ...string) (socket string) {
	t.Helper()
	for i := 0; i < len(idsAndHints); i += 2 {
		l := must[*leaf](t)(ca.issue(must[spiffeid.ID](t)(spiffeid.FromString(idsAndHints[i])), time.Now()))
		a.response.Svids = append(a.response.Svids, &workload.X509SVID{
			SpiffeId: idsAndHints[i], Hint: idsAndHints[i+1], X509Svid: l.cert, X509SvidKey: l.key, Bundle: l.bundle})
	}
	socket = socketPath(t)
	l := must[net.Listener](t)(net.Listen("unix", socket))
	s := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(s, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return socket
}

func TestAnIdentityIsPickedByIDAndHint(t *testing.T) {
	ca := openCA(t, CAConfig{})
	socket := startAgent(t, ca, nil, webID, "internal", ordersID, "external")
	for _, c := range []struct{ id, hint, want string }{
		{ordersID, "", ordersID}, {"", "external", ordersID}, {webID, "internal", webID},
	} {
		src, err := Workload(context.Background(), WorkloadConfig{Address: socket, ID: c.id, Hint: c.hint, Wait: 30 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got := must[spiffeid.ID](t)(ID(src)); got.String() != c.want {
			t.Errorf("id %q hint %q picked %s, expected %s", c.id, c.hint, got, c.want)
		}
		_ = src.Close()
	}
	_, err := Workload(context.Background(), WorkloadConfig{Address: socket, Wait: 3 * time.Second})
	wantError(t, err, "offers several identities: "+webID+` (hint "internal"), `+ordersID+` (hint "external")`, "choose one by identity.id or identity.hint")
	_, err = Workload(context.Background(), WorkloadConfig{Address: socket, ID: webID, Hint: "external", Wait: 3 * time.Second})
	wantError(t, err, "wanted "+webID+` with hint "external"`, "offers "+webID+` (hint "internal"), `+ordersID+` (hint "external")`)
}

// A registration made for this workload elsewhere changes nothing for a
// process that runs: it goes on as who it is, also when it is named last.
func TestAFurtherIdentityChangesNothing(t *testing.T) {
	ca := openCA(t, CAConfig{})
	s := &workloadSource{held: newHeld("workload-api", nil)}
	offer := func(ids ...string) *workloadapi.X509Context {
		x := &workloadapi.X509Context{Bundles: x509bundle.NewSet()}
		for _, id := range ids {
			l := must[*leaf](t)(ca.issue(must[spiffeid.ID](t)(spiffeid.FromString(id)), time.Now()))
			x.SVIDs = append(x.SVIDs, must[*x509svid.SVID](t)(x509svid.ParseRaw(l.cert, l.key)))
		}
		return x
	}
	s.OnX509ContextUpdate(offer(webID, ordersID))
	if _, err := s.GetX509SVID(); err == nil {
		t.Fatal("one of two was taken")
	}
	s.OnX509ContextUpdate(offer(webID))
	first := s.Status()
	s.OnX509ContextUpdate(offer(ordersID, webID))
	if now := s.Status(); now.ID != webID || now.Serial == first.Serial || now.Err != "" {
		t.Errorf("%+v, before %+v", now, first)
	}
	s.OnX509ContextUpdate(offer(ordersID, "spiffe://lintel.local/svc/third"))
	if now := s.Status(); now.ID != webID || !strings.Contains(now.Err, "several identities") {
		t.Errorf("%+v", now)
	}
}

// go-spiffe's own source gives up for good after InvalidArgument.
func TestTheWatchOutlivesRefusals(t *testing.T) {
	failures := make(chan error, 3)
	for _, c := range []codes.Code{codes.PermissionDenied, codes.InvalidArgument, codes.Unavailable} {
		failures <- status.Error(c, "not yet")
	}
	socket := startAgent(t, openCA(t, CAConfig{}), failures, webID, "")
	src := must[Source](t)(Workload(context.Background(), WorkloadConfig{Address: socket, Wait: 40 * time.Second}))
	defer src.Close()
	if len(failures) != 0 {
		t.Errorf("%d refusals were not met", len(failures))
	}
}

func TestWatchersAreIndependentAndSignalsCoalesce(t *testing.T) {
	var n notifier
	slow, stopSlow := n.watch()
	fast, stopFast := n.watch()
	defer stopSlow()
	for range 3 {
		n.notify()
		<-fast
	}
	<-slow
	select {
	case <-slow:
		t.Error("three changes gave a slow watcher more than one signal")
	default:
	}
	stopFast()
	stopFast()
	n.notify()
	select {
	case <-fast:
		t.Error("a signal after stop")
	default:
	}
	<-slow
}
