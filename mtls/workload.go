package mtls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// WorkloadConfig says where the SPIFFE Workload API is and which of its
// identities to take.
type WorkloadConfig struct {
	Address string        // unix:///path, a bare absolute path, or tcp://ip:port; SPIFFE_ENDPOINT_SOCKET when empty
	ID      string        // take exactly this SPIFFE ID; "" takes the only one
	Hint    string        // take the identity with this hint; "" takes the only one
	Wait    time.Duration // for the first identity; DefaultWait
	Waiting func(string)  // told once a second what is awaited and why it has not come; may be nil
	Log     *slog.Logger
}

// workloadSource watches the Workload API. It uses go-spiffe's client rather
// than its X509Source, which hides watch errors and stops for good when the
// agent once answers InvalidArgument.
type workloadSource struct {
	*held
	cfg     WorkloadConfig
	client  *workloadapi.Client
	running context.Context // ends with Close
	cancel  context.CancelFunc
	done    chan struct{}
	close   sync.Once
	err     error
}

// Workload connects to the SPIFFE Workload API and waits, bounded by cfg.Wait
// and ctx, until it has issued the wanted identity. The socket may appear
// later than this process.
func Workload(ctx context.Context, cfg WorkloadConfig) (Source, error) {
	s, err := newWorkload(ctx, cfg, "workload-api")
	if err != nil {
		return nil, err // a nil *workloadSource would be a non-nil Source
	}
	return s, nil
}

func newWorkload(ctx context.Context, cfg WorkloadConfig, kind string) (*workloadSource, error) {
	address, origin, err := workloadAddress(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("mtls: %w", err)
	}
	if cfg.ID != "" {
		if _, err := parseWorkloadID(cfg.ID); err != nil {
			return nil, fmt.Errorf("mtls: wanted identity: %w", err)
		}
	}
	// gRPC's own reconnect delay grows to two minutes, far beyond our wait for
	// an agent that starts after us.
	params := grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
		MinConnectTimeout: 3 * time.Second,
	}
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(address),
		workloadapi.WithDialOptions(grpc.WithConnectParams(params)),
		workloadapi.WithBackoffStrategy(retryStrategy{}))
	if err != nil {
		return nil, fmt.Errorf("mtls: Workload API client for %s (%s): %w", address, origin, err)
	}
	s := &workloadSource{held: newHeld(kind, cfg.Log), cfg: cfg, client: client, done: make(chan struct{})}
	s.tell = cfg.Waiting
	s.running, s.cancel = context.WithCancel(context.Background())
	go s.run(s.running)
	err = s.await(ctx, cfg.Wait, fmt.Sprintf("the SPIFFE Workload API at %s (%s)", address, origin),
		"is the agent running, its socket mounted here, and this workload registered?")
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close implements Source.
func (s *workloadSource) Close() error {
	s.close.Do(func() {
		s.cancel()
		s.err = s.client.Close()
		<-s.done
	})
	return s.err
}

func (s *workloadSource) run(ctx context.Context) {
	defer close(s.done)
	delay := retryStrategy{}.NewBackoff()
	for {
		// It retries by itself except after InvalidArgument and Canceled.
		err := s.client.WatchX509Context(ctx, s)
		if ctx.Err() != nil {
			return
		}
		s.fail(fmt.Errorf("the watch ended and is begun again: %w", err))
		select {
		case <-time.After(delay.Next()):
		case <-ctx.Done():
			return
		}
	}
}

// OnX509ContextUpdate implements workloadapi.X509ContextWatcher.
func (s *workloadSource) OnX509ContextUpdate(x *workloadapi.X509Context) {
	svid, err := s.pick(x.SVIDs)
	if err != nil {
		s.fail(err)
		return
	}
	s.set(svid, x.Bundles, nil)
}

// OnX509ContextWatchError implements workloadapi.X509ContextWatcher.
func (s *workloadSource) OnX509ContextWatchError(err error) {
	if s.running.Err() == nil {
		s.fail(err)
	}
}

// pick chooses by what is configured. A workload that is offered several
// identities and told to take none of them gets none at its start: the order is
// the server's (SPIFFE Workload API, section 5.3), and a registration made
// elsewhere must not decide who this process is. One that runs keeps the
// identity it has, whatever is offered besides.
func (s *workloadSource) pick(svids []*x509svid.SVID) (*x509svid.SVID, error) {
	fit := pick(svids, s.cfg.ID, s.cfg.Hint)
	other := func(svid *x509svid.SVID) bool { return svid.ID != fit[0].ID }
	if len(fit) > 0 && !slices.ContainsFunc(fit, other) {
		return fit[0], nil
	}
	if held, err := s.GetX509SVID(); err == nil {
		for _, svid := range fit {
			if svid.ID == held.ID {
				return svid, nil
			}
		}
	}
	if len(fit) > 1 {
		return nil, fmt.Errorf("the Workload API offers several identities%s: %s; choose one by identity.id or identity.hint",
			wanted(" for ", s.cfg), offered(fit))
	}
	return nil, fmt.Errorf("wanted %s, but the Workload API offers %s; register the workload for it or change identity.id and identity.hint",
		wanted("", s.cfg), offered(svids))
}

// pick returns those of an ID and a hint, where each may be any.
func pick(svids []*x509svid.SVID, id, hint string) (fit []*x509svid.SVID) {
	for _, s := range svids {
		if (id == "" || s.ID.String() == id) && (hint == "" || s.Hint == hint) {
			fit = append(fit, s)
		}
	}
	return fit
}

func wanted(before string, cfg WorkloadConfig) string {
	var want []string
	if cfg.ID != "" {
		want = append(want, cfg.ID)
	}
	if cfg.Hint != "" {
		want = append(want, fmt.Sprintf("hint %q", cfg.Hint))
	}
	if len(want) == 0 {
		return ""
	}
	return before + strings.Join(want, " with ")
}

func offered(svids []*x509svid.SVID) string {
	offers := make([]string, 0, len(svids))
	for _, s := range svids {
		offer := s.ID.String()
		if s.Hint != "" {
			offer += fmt.Sprintf(" (hint %q)", s.Hint)
		}
		offers = append(offers, offer)
	}
	return strings.Join(offers, ", ")
}

func workloadAddress(configured string) (address, origin string, err error) {
	address, origin = configured, "configured"
	if address == "" {
		origin = workloadapi.SocketEnv
		if address, _ = workloadapi.GetDefaultAddress(); address == "" {
			return "", "", fmt.Errorf("no Workload API address: set identity.address or %s, as unix:///run/spire/agent.sock", workloadapi.SocketEnv)
		}
	}
	if strings.HasPrefix(address, "/") {
		address = (&url.URL{Scheme: "unix", Path: address}).String()
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return "", "", fmt.Errorf("Workload API address %q (%s): %w; expected unix:///path or tcp://ip:port", address, origin, err)
	}
	return address, origin, nil
}

// parseWorkloadID parses the ID of a workload: it names more than a trust
// domain (SPIFFE X509-SVID, section 2).
func parseWorkloadID(s string) (spiffeid.ID, error) {
	id, err := spiffeid.FromString(s)
	if err != nil {
		return id, fmt.Errorf("%q is not a SPIFFE ID: %w", s, err)
	}
	if id.Path() == "" {
		return id, fmt.Errorf("%q names a trust domain, not a workload: a path is missing", s)
	}
	return id, nil
}

// retryStrategy waits 100 ms to 5 s, with jitter so that the sidecars of a
// host do not knock on a restarted agent all at once.
type retryStrategy struct{}

func (retryStrategy) NewBackoff() workloadapi.Backoff { return &retry{} }

type retry struct{ n int }

func (r *retry) Next() time.Duration {
	d := min(100*time.Millisecond<<min(r.n, 6), 5*time.Second)
	r.n++
	return d/2 + rand.N(d/2)
}

func (r *retry) Reset() { r.n = 0 }

func serial(n *big.Int) string { return fmt.Sprintf("%x", n) }
