package ops_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

const examplesDir = "../../deploy/examples/"

// redisThrough says PING to a port and returns the answer.
func redisThrough(t testing.TB, addr string) (net.Conn, string, error) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, "", err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err = fmt.Fprint(c, "PING\r\n"); err != nil {
		_ = c.Close()
		return nil, "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		_ = c.Close()
	}
	return c, line, err
}

// The two examples as they are: Redis through both sidecars, a caller that may
// not, and one that loses its permission while connected.
func TestRedisThroughTwoSidecars(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	dir, mesh := t.TempDir(), kit.FreeAddr(t)
	file := kit.File(t, "redis.yaml", readFile(t, examplesDir+"tcp-service.yaml"))
	admin := kit.FreeAddr(t)
	env := []string{"APP=" + redis.Addr(), "MESH=" + mesh, "CA_DIR=" + dir}
	server := kit.Start(t, append(env, "ADMIN="+admin), "sidecar", "-c", file)
	server.Ready(admin)
	start := func(service string) (bind, admin string, p *kit.Process) {
		bind, admin = kit.FreeAddr(t), kit.FreeAddr(t)
		p = kit.Start(t, []string{"SERVICE=" + service, "BIND=" + bind, "REDIS_ADDR=" + mesh, "CA_DIR=" + dir, "ADMIN=" + admin},
			"sidecar", "-c", examplesDir+"tcp-caller.yaml")
		p.Ready(admin)
		return bind, admin, p
	}
	bind, callerAdmin, caller := start("orders")
	conn, line, err := redisThrough(t, bind)
	if err != nil || line != "+PONG\r\n" {
		t.Fatalf("PING: %q %v", line, err)
	}
	defer func() { _ = conn.Close() }()
	if code, body := fetch(callerAdmin, "/connections?compact"); code != 200 || !strings.Contains(body, `/svc/redis`) {
		t.Errorf("/connections: %d %s", code, body)
	}
	if n := metric(t, admin, "lintel_tcp_received_bytes_total"); n != 6 {
		t.Errorf("received %v bytes, want 6", n)
	}
	// Half-close: redis answers all before it sees the end.
	half, _, err := redisThrough(t, bind)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprint(half, "ECHO last\r\n")
	_ = half.(*net.TCPConn).CloseWrite()
	if got, err := bufio.NewReader(half).ReadString('\n'); err != nil || got != "$4\r\n" {
		t.Errorf("after a half-close: %q %v", got, err)
	}
	_ = half.Close()

	other, _, denied := start("reports")
	if _, line, err := redisThrough(t, other); err == nil {
		t.Errorf("a caller that may not: %q", line)
	}
	awaitText(t, server.Stdout, `"fault":"peer-denied"`)
	awaitText(t, denied.Stdout, `"fault":"tls-refused"`)

	kit.Replace(t, file, strings.Replace(readFile(t, file), "from: orders", "from: reports", 1))
	server.Signal(syscall.SIGHUP)
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection outlived its permission: %v", err)
	}
	kit.Eventually(t, 10*time.Second, "reports may now", func() error {
		c, _, err := redisThrough(t, other)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	// A file that has lost its app has lost who may call it too: it is refused, and
	// the next caller does not bring the sidecar down.
	kit.Replace(t, file, strings.Replace(strings.Replace(readFile(t, file), "app: ${APP:-127.0.0.1:6379}", `app: ""`, 1), "from: orders", "from: reports", 1))
	server.Signal(syscall.SIGHUP)
	awaitText(t, server.Stderr, "sidecar.app cannot be taken away while running")
	if c, line, err := redisThrough(t, other); err != nil || line != "+PONG\r\n" {
		t.Errorf("after a reload that was refused: %q %v", line, err)
	} else {
		_ = c.Close()
	}
	for _, p := range []*kit.Process{caller, denied, server} {
		p.Signal(syscall.SIGTERM)
		if code := p.Wait(time.Minute); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

func TestTCPSidecarIsNoOther(t *testing.T) {
	t.Parallel()
	dir, mesh, admin := t.TempDir(), kit.FreeAddr(t), kit.FreeAddr(t)
	redis := redistest.Start(t)
	// It stands where redis is looked for, and is somebody else.
	file := kit.File(t, "other.yaml", strings.Replace(strings.Replace(readFile(t, examplesDir+"tcp-service.yaml"), "service: redis", "service: stranger", 1),
		"from: orders", `from: "*"`, 1))
	kit.Start(t, []string{"APP=" + redis.Addr(), "MESH=" + mesh, "CA_DIR=" + dir, "ADMIN=" + admin}, "sidecar", "-c", file).Ready(admin)
	bind, callerAdmin := kit.FreeAddr(t), kit.FreeAddr(t)
	p := kit.Start(t, []string{"BIND=" + bind, "REDIS_ADDR=" + mesh, "CA_DIR=" + dir, "ADMIN=" + callerAdmin}, "sidecar", "-c", examplesDir+"tcp-caller.yaml")
	p.Ready(callerAdmin)
	if _, line, err := redisThrough(t, bind); err == nil {
		t.Errorf("a stranger in redis's place was believed: %q", line)
	}
	awaitText(t, p.Stdout, "expected spiffe://lintel.local/svc/redis")
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
