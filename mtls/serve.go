package mtls

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const socketPathLimit = 100 // bytes; sun_path holds 104 to 108

// Server serves the SPIFFE Workload API for one identity on a unix socket.
// There is no other attestation than the socket's file permissions (0600, the
// user that started it): whoever can open it is that identity. The JWT and WIT
// profiles answer Unimplemented.
type Server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	changed notifier
	ca      *CA
	id      spiffeid.ID
	socket  string
	inode   os.FileInfo // of our socket
	grpc    *grpc.Server
	current atomic.Pointer[leaf]
	running context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	close   sync.Once
	err     error
}

// Serve issues leaves for id, renewed at half of their life, and serves them
// on a unix socket at path until ctx ends or the server is closed. A socket
// that a dead process left behind is replaced.
func (c *CA) Serve(ctx context.Context, path, id string) (*Server, error) {
	s, err := c.serve(ctx, path, id)
	if err != nil {
		return nil, fmt.Errorf("mtls: embedded Workload API for %s: %w", id, err)
	}
	return s, nil
}

func (c *CA) serve(ctx context.Context, path, id string) (*Server, error) {
	spiffeID, err := parseWorkloadID(id)
	if err != nil {
		return nil, err
	}
	first, err := c.issue(spiffeID, time.Now())
	if err != nil {
		return nil, err
	}
	listener, inode, err := listenPrivately(path)
	if err != nil {
		return nil, err
	}
	s := &Server{ca: c, id: spiffeID, socket: path, inode: inode}
	s.current.Store(first)
	s.running, s.cancel = context.WithCancel(ctx)
	s.grpc = grpc.NewServer(
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if err := checkSecurityHeader(stream.Context()); err != nil {
				return err
			}
			return handler(srv, stream)
		}),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if err := checkSecurityHeader(ctx); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}),
		grpc.MaxConcurrentStreams(64), grpc.MaxRecvMsgSize(64<<10), grpc.ConnectionTimeout(5*time.Second))
	workload.RegisterSpiffeWorkloadAPIServer(s.grpc, s)
	caChanged, stop := c.watch()
	s.wg.Go(func() {
		defer stop()
		s.renew(caChanged)
	})
	s.wg.Go(func() {
		if err := s.grpc.Serve(listener); err != nil && s.running.Err() == nil {
			c.log.Error("embedded Workload API stopped", "id", id, "socket", path, "error", err)
		}
	})
	context.AfterFunc(s.running, func() { _ = s.Close() })
	return s, nil
}

// Close cuts the streams and removes the socket.
func (s *Server) Close() error {
	s.close.Do(func() {
		s.cancel()
		s.grpc.Stop()
		s.wg.Wait()
		// Only our own: another process may have taken over the path, even
		// with an inode number used again.
		if now, err := os.Lstat(s.socket); err == nil && os.SameFile(now, s.inode) && now.ModTime().Equal(s.inode.ModTime()) {
			s.err = os.Remove(s.socket)
		}
	})
	return s.err
}

// Address is the server's SPIFFE_ENDPOINT_SOCKET.
func (s *Server) Address() string { return "unix://" + s.socket }

func (s *Server) renew(caChanged <-chan struct{}) {
	wait := time.Until(s.current.Load().renewAt)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-s.running.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-caChanged:
			timer.Stop()
		}
		next, err := s.ca.issue(s.id, time.Now())
		if err != nil {
			s.ca.log.Error("embedded CA: leaf not renewed", "id", s.id.String(), "error", err)
			wait = time.Second
			continue
		}
		s.current.Store(next)
		s.changed.notify()
		wait = time.Until(next.renewAt)
	}
}

// follow calls send with the current leaf, and again after every change.
func (s *Server) follow(ctx context.Context, send func(*leaf) error) error {
	changed, stop := s.changed.watch()
	defer stop()
	for {
		if err := send(s.current.Load()); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.running.Done():
			return status.Error(codes.Unavailable, "the embedded Workload API is stopping")
		}
	}
}

// FetchX509SVID implements the SPIFFE Workload API, section 5.2.1.
func (s *Server) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return s.follow(stream.Context(), func(l *leaf) error {
		return stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId: l.id.String(), X509Svid: l.cert, X509SvidKey: l.key, Bundle: l.bundle,
		}}})
	})
}

// FetchX509Bundles implements the SPIFFE Workload API, section 5.2.2.
func (s *Server) FetchX509Bundles(_ *workload.X509BundlesRequest, stream grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	return s.follow(stream.Context(), func(l *leaf) error {
		return stream.Send(&workload.X509BundlesResponse{Bundles: map[string][]byte{
			l.id.TrustDomain().IDString(): l.bundle,
		}})
	})
}

// checkSecurityHeader refuses calls that a tricked HTTP client could have made
// (SPIFFE Workload Endpoint, section 4).
func checkSecurityHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("workload.spiffe.io"); len(v) == 1 && v[0] == "true" {
		return nil
	}
	return status.Error(codes.InvalidArgument, "security header missing from request: expected metadata workload.spiffe.io: true")
}

// listenPrivately listens at path with mode 0600 from the first moment: the
// socket is made in a directory of our own and then moved into place, so that
// no umask opens it in between.
func listenPrivately(path string) (net.Listener, os.FileInfo, error) {
	if len(path) > socketPathLimit {
		return nil, nil, fmt.Errorf("socket path %s is %d bytes long, at most %d fit: choose a shorter one", path, len(path), socketPathLimit)
	}
	if !filepath.IsAbs(path) {
		return nil, nil, fmt.Errorf("socket path %q is not absolute", path)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := checkReplaceable(path); err != nil {
		return nil, nil, err
	}
	private, err := os.MkdirTemp(dir, ".s") // mode 0700
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(private)
	made := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	l.SetUnlinkOnClose(false) // it will be elsewhere by then
	inode, err := os.Lstat(made)
	if err = errors.Join(err, os.Chmod(made, 0o600)); err == nil {
		err = os.Rename(made, path) // over a dead socket, if there is one
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, inode, nil
}

// checkReplaceable allows nothing at path, or the socket of a dead process.
func checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: choose another path", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("another process serves at %s: choose another path", path)
	}
	return nil
}
