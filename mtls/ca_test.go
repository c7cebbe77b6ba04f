package mtls

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestOpenersOfOneDirectoryShareOneCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	cas := make([]*CA, 6)
	var wg sync.WaitGroup
	for i := range cas {
		wg.Go(func() {
			ca, err := OpenCA(CAConfig{Dir: dir, poll: 500 * time.Millisecond}) // three polls are what the others have to learn of a new root
			if err != nil {
				t.Error(err)
				return
			}
			cas[i] = ca
		})
	}
	wg.Wait()
	for _, ca := range cas {
		if ca == nil {
			t.FailNow()
		}
		defer ca.Close()
		if !ca.view.Load().signer.cert.Equal(cas[0].view.Load().signer.cert) {
			t.Fatal("two openers have two roots")
		}
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, caFileName): 0o600} {
		if got := must[os.FileInfo](t)(os.Stat(path)).Mode().Perm(); got != want {
			t.Errorf("%s has mode %#o, expected %#o", path, got, want)
		}
	}

	// Identities of two openers trust each other, also after a rotation that
	// one of them learns of from the directory.
	web, orders := sourceOf(t, cas[0], webID), sourceOf(t, cas[1], ordersID)
	before := cas[1].view.Load().signer.cert
	if err := cas[0].RotateRoot(time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other opener signs with the new root", func() bool {
		sErr, cErr, _ := handshake(t, ServerConfig(orders, nil, Options{}), ClientConfig(web, expecting(t, ordersID), Options{}))
		if sErr != nil || cErr != nil {
			t.Fatalf("during the rotation: %v, %v", sErr, cErr)
		}
		svid := must[*x509svid.SVID](t)(orders.GetX509SVID())
		return !cas[1].view.Load().signer.cert.Equal(before) && svid.Certificates[0].CheckSignatureFrom(before) != nil
	})
}

// The same with processes of their own: the test binary runs itself.
func TestProcessesShareOneCA(t *testing.T) {
	if dir := os.Getenv("LINTEL_TEST_CA_DIR"); dir != "" {
		ca := must[*CA](t)(OpenCA(CAConfig{Dir: dir}))
		defer ca.Close()
		_, _ = os.Stdout.WriteString("root=" + serial(ca.view.Load().signer.cert.SerialNumber) + "\n")
		return
	}
	dir := filepath.Join(t.TempDir(), "ca")
	roots := make([]string, 4)
	var wg sync.WaitGroup
	for i := range roots {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesShareOneCA$", "-test.timeout=60s")
			cmd.Env = append(os.Environ(), "LINTEL_TEST_CA_DIR="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			root, _, _ := strings.Cut(string(out), "\n")
			roots[i] = root
		})
	}
	wg.Wait()
	for _, r := range roots {
		if !strings.HasPrefix(r, "root=") || r != roots[0] {
			t.Fatalf("processes that started at once have roots %q", roots)
		}
	}
}

func TestACADirectoryThatIsNotRightIsRefused(t *testing.T) {
	open := func(dir, td string) error {
		ca, err := OpenCA(CAConfig{Dir: dir, TrustDomain: td})
		if err == nil {
			_ = ca.Close()
		}
		return err
	}
	made := func() (dir, file string) {
		dir = filepath.Join(t.TempDir(), "ca")
		if err := open(dir, ""); err != nil {
			t.Fatal(err)
		}
		return dir, filepath.Join(dir, caFileName)
	}
	dir, file := made()
	wantError(t, open(dir, "other.example"), `made for trust domain "lintel.local"`, `"other.example"`)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, open(dir, ""), file, "readable by others")

	dir, _ = made()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	wantError(t, open(dir, ""), "others could replace", "chmod 700")

	dir, file = made()
	for content, part := range map[string]string{
		"":                              "not a CA file",
		"{}":                            "version 0, expected 1",
		`{"version":1,"surprise":true}`: "surprise",
		`{"version":1,"trust_domain":"lintel.local"}`: "no root",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		wantError(t, open(dir, ""), file, part)
	}
	wantError(t, open("", "Not A Domain"), "Not A Domain")
	_, err := OpenCA(CAConfig{TTL: time.Millisecond})
	wantError(t, err, "below one second")
}

func TestADamagedFileKeepsTheKnownRoots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	var log logBuffer
	ca := openCA(t, CAConfig{Dir: dir, Log: log.logger()})
	if err := os.WriteFile(filepath.Join(dir, caFileName), []byte("oops"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the damage is logged", func() bool { return strings.Contains(log.String(), "cannot be read") })
	if _, err := ca.issue(must[spiffeid.ID](t)(spiffeid.FromString(webID)), time.Now()); err != nil {
		t.Errorf("the known root no longer signs: %v", err)
	}
	if n := strings.Count(log.String(), "EMBEDDED CA: FOR DEVELOPMENT"); n != 1 {
		t.Errorf("the warning stands %d times in the log, expected once", n)
	}
	if strings.Contains(log.String(), "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
}

func TestTheCAIssuesOnlyForItsTrustDomain(t *testing.T) {
	ca := openCA(t, CAConfig{})
	for id, part := range map[string]string{
		"spiffe://other.example/svc/web": "cannot issue",
		"spiffe://lintel.local":          "names a trust domain",
		"web":                            "not a SPIFFE ID",
	} {
		_, err := ca.Serve(context.Background(), socketPath(t), id)
		wantError(t, err, part)
	}
}

func TestEmbeddedDoesItAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	ctx, cancel := context.WithCancel(context.Background())
	src := must[Source](t)(Embedded(ctx, EmbeddedConfig{CA: CAConfig{Dir: dir}, ID: webID, Wait: 30 * time.Second}))
	temp := src.(*embeddedSource).tempDir
	cancel() // the boot's context ends; the source goes on
	changed, stop := src.Watch()
	defer stop()
	if err := src.(*embeddedSource).ownedCA.RotateRoot(time.Hour); err != nil {
		t.Fatal(err)
	}
	for patience := time.After(30 * time.Second); ; { // the first signal may still be that of the first identity
		select {
		case <-changed:
		case <-patience:
			t.Fatal("no signal for a new root")
		}
		if src.Status().Roots == 2 {
			break
		}
	}
	st := src.Status()
	if st.Source != "embedded" || st.ID != webID || st.Roots != 2 || st.Serial == "" || st.Err != "" || st.Age(time.Now()) <= 0 {
		t.Errorf("status %+v", st)
	}
	if !NotAfter(src).Equal(st.NotAfter) || must[spiffeid.ID](t)(ID(src)).String() != webID {
		t.Errorf("NotAfter %s, status %s", NotAfter(src), st.NotAfter)
	}
	retire := Retire(src)()
	if left := st.NotAfter.Sub(retire); left != st.NotAfter.Sub(st.NotBefore)/10 {
		t.Errorf("retires %s before the end", left)
	}
	for range 2 {
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(temp); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
	_, err := Embedded(context.Background(), EmbeddedConfig{ID: "spiffe://other.example/x"})
	wantError(t, err, "cannot issue")
}

// The server speaks the SPIFFE Workload API to clients that know nothing of us.
func TestTheSocketSpeaksTheWorkloadAPI(t *testing.T) {
	ca := openCA(t, CAConfig{})
	socket := socketPath(t)
	server := must[*Server](t)(ca.Serve(context.Background(), socket, webID))
	defer server.Close()
	if mode := must[os.FileInfo](t)(os.Lstat(socket)).Mode(); mode.Perm() != 0o600 || mode.Type() != os.ModeSocket {
		t.Errorf("socket mode %v, expected 0600", mode)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	client := must[*workloadapi.Client](t)(workloadapi.New(ctx, workloadapi.WithAddr(server.Address())))
	defer client.Close()
	svid := must[*x509svid.SVID](t)(client.FetchX509SVID(ctx))
	bundles := must[*x509bundle.Set](t)(client.FetchX509Bundles(ctx))
	id, _, err := x509svid.Verify(svid.Certificates, bundles)
	if err != nil || id.String() != webID {
		t.Errorf("%s, %v", id, err)
	}
	if leaf := svid.Certificates[0]; leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 2 {
		t.Errorf("leaf: CA %v, key usage %v, extended %v", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if _, err := client.FetchJWTBundles(ctx); status.Code(err) != codes.Unimplemented {
		t.Errorf("JWT bundles: %v, expected Unimplemented", err)
	}
	// go-spiffe's own source, and the environment's address.
	t.Setenv(workloadapi.SocketEnv, server.Address())
	src := must[*workloadapi.X509Source](t)(workloadapi.NewX509Source(ctx))
	defer src.Close()
	if got := must[*x509svid.SVID](t)(src.GetX509SVID()); got.ID.String() != webID {
		t.Errorf("X509Source has %s", got.ID)
	}

	conn := must[*grpc.ClientConn](t)(grpc.NewClient(server.Address(), grpc.WithTransportCredentials(insecure.NewCredentials())))
	defer conn.Close()
	raw := workload.NewSpiffeWorkloadAPIClient(conn)
	for _, header := range []metadata.MD{nil, metadata.Pairs("workload.spiffe.io", "false"), metadata.Pairs("workload.spiffe.io", "true", "workload.spiffe.io", "true")} {
		stream, err := raw.FetchX509SVID(metadata.NewOutgoingContext(ctx, header), &workload.X509SVIDRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("with the header %v: %v, expected InvalidArgument", header, err)
		}
		if _, err := raw.FetchJWTSVID(metadata.NewOutgoingContext(ctx, header), &workload.JWTSVIDRequest{}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("unary with the header %v: %v, expected InvalidArgument", header, err)
		}
	}
}

func TestSocketPaths(t *testing.T) {
	ca := openCA(t, CAConfig{})
	ctx := context.Background()
	socket := socketPath(t)
	first := must[*Server](t)(ca.Serve(ctx, socket, webID))
	_, err := ca.Serve(ctx, socket, ordersID)
	wantError(t, err, "another process serves", socket)

	// A dead process's socket is replaced; the dead one's Close leaves ours.
	first.grpc.Stop()
	ctx2, cancel := context.WithCancel(ctx)
	var second *Server
	eventually(t, "the first server no longer answers", func() bool {
		second, err = ca.Serve(ctx2, socket, ordersID)
		return err == nil
	})
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("closing the old server removed the new one's socket: %v", err)
	}
	cancel()
	eventually(t, "the context's end closes the server", func() bool {
		_, err := os.Lstat(socket)
		return os.IsNotExist(err)
	})
	_ = second.Close()

	file := filepath.Join(filepath.Dir(socket), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ca.Serve(ctx, file, webID)
	wantError(t, err, "not a socket")
	if b, _ := os.ReadFile(file); !bytes.Equal(b, []byte("precious")) {
		t.Error("the file was touched")
	}
	_, err = ca.Serve(ctx, "relative.sock", webID)
	wantError(t, err, "not absolute")
	_, err = ca.Serve(ctx, "/tmp/"+strings.Repeat("long", 30), webID)
	wantError(t, err, "choose a shorter one")
}

func FuzzCAFile(f *testing.F) {
	td, err := spiffeid.TrustDomainFromString(DefaultTrustDomain)
	if err != nil {
		f.Fatal(err)
	}
	dir := &caDir{path: f.TempDir()}
	if _, err := dir.loadOrCreate(td); err != nil {
		f.Fatal(err)
	}
	f.Add(dir.seen)
	f.Add([]byte(`{"version":1,"trust_domain":"lintel.local","roots":[{"cert":"","key":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		roots, err := parseCAFile(data, td)
		if err == nil && (len(roots) == 0 || roots[0].cert == nil || roots[0].key == nil) {
			t.Fatal("accepted without a usable root")
		}
	})
}
