package ops_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// wrapped is a sidecar that starts its app, in the place of a chain's orders.
type wrapped struct {
	*kit.Process
	app, mesh, admin string
	args             []string
	env              []string
}

// wrap prepares `lintel sidecar … -- this binary`.
func wrap(t testing.TB, c *kit.Chain) *wrapped {
	t.Helper()
	w := &wrapped{app: kit.FreeAddr(t), mesh: kit.FreeAddr(t), admin: kit.FreeAddr(t)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.args = []string{"sidecar", "--service", "orders", "--app", w.app, "--mesh", w.mesh, "--outbound", kit.FreeAddr(t), "--admin", w.admin,
		"--identity", "embedded", "--embedded-dir", c.CADir, "--allow", "ingress", "--", self}
	w.env = []string{"LINTEL_TEST_CHILD=" + w.app, "CONSUL_HTTP_ADDR=" + c.Consul.HTTPAddr()}
	return w
}

func (w *wrapped) start(t testing.TB) *wrapped {
	w.Process = kit.Start(t, w.env, w.args...)
	return w
}

// lines are what the app has said.
func (w *wrapped) lines() []string {
	return regexp.MustCompile(`(?m)^app: .*$`).FindAllString(w.Stdout.String(), -1)
}

var appPID = regexp.MustCompile(`app: up pid=(\d+)`)

// consulChain is a chain whose services are found by Consul, without its own
// orders: a test starts that.
func consulChain(t testing.TB) *kit.Chain {
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul, StockAllow: "[{from: [orders]}]"})
	c.Orders.Process.Signal(syscall.SIGTERM)
	c.Orders.Process.Wait(time.Minute)
	return c
}

func awaitOpen(t testing.TB, c *kit.Chain, path string) {
	t.Helper()
	kit.Eventually(t, time.Minute, path+" answers", func() error {
		if status, body := c.Get(path, ""); status != 200 {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
}

func TestSidecarRunsItsApp(t *testing.T) {
	t.Parallel()
	c := consulChain(t)
	c.Consul.Freeze()
	w := wrap(t, c)
	w.start(t)
	kit.Eventually(t, time.Minute, "the sidecar has an identity", func() error {
		if !strings.Contains(w.Stderr.String(), "identity") {
			return fmt.Errorf("stderr: %s", w.Stderr.String())
		}
		return nil
	})
	time.Sleep(500 * time.Millisecond)
	if got := w.lines(); got != nil {
		t.Errorf("the app was started before discovery was ready: %q", got)
	}
	c.Consul.Thaw()
	w.Ready(w.admin)
	awaitOpen(t, c, "/open/x")
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP, syscall.SIGQUIT} {
		w.Signal(sig)
		awaitText(t, w.Stdout, "app: signal "+sig.String())
	}
	slow := make(chan string, 1)
	go func() {
		status, body := c.Get("/open/slow", "")
		slow <- fmt.Sprint(status, " ", body)
	}()
	awaitText(t, w.Stdout, "app: slow begins")
	w.Signal(syscall.SIGTERM)
	if code := w.Wait(time.Minute); code != 5 {
		t.Errorf("exit code %d, want the app's, 5", code)
	}
	if got := <-slow; got != "200 slow\n" {
		t.Errorf("the call in flight got %q", got)
	}
	got := strings.Join(w.lines(), "\n")
	if !strings.Contains(got, "app: slow ends\napp: signal terminated\napp: last call 200 OK") {
		t.Errorf("want its calls finished, then SIGTERM, and its own calls still going out; the app said\n%s", got)
	}
	if got, err := consulSees(c.Consul, "orders"); got != "gone" {
		t.Errorf("Consul has it %s, %v", got, err)
	}
}

func TestAppThatEndsByItself(t *testing.T) {
	t.Parallel()
	c := consulChain(t)
	w := wrap(t, c)
	w.start(t).Ready(w.admin)
	awaitOpen(t, c, "/open/x")
	c.Get("/open/leave", "")
	if code := w.Wait(time.Minute); code != 7 {
		t.Errorf("exit code %d, want the app's, 7", code)
	}
	if got, err := consulSees(c.Consul, "orders"); got != "gone" {
		t.Errorf("Consul has it %s, %v", got, err)
	}
}

func TestJobWithSidecar(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{})
	config := kit.File(t, "job.yaml", strings.Replace(strings.Replace(strings.Replace(c.Orders.Config,
		"  app: "+strconv.Quote(c.Orders.App.Addr)+"\n", "", 1), c.Orders.App.Outbound, kit.FreeAddr(t), 1),
		c.Orders.Admin, kit.FreeAddr(t), 1))
	self, _ := os.Executable()
	for _, want := range []int{0, 3} {
		code, out, errs := run(t, []string{"LINTEL_TEST_CHILD=job", fmt.Sprint("LINTEL_TEST_CODE=", want)}, "sidecar", "-c", config, "--", self)
		if code != want || !strings.Contains(out, "app: job 200 OK") {
			t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, want, out, errs)
		}
	}
	for program, want := range map[string]int{"no-such-program-anywhere": 127, config: 126} {
		code, _, errs := run(t, nil, "sidecar", "-c", config, "--", program)
		if code != want || !strings.Contains(errs, "cannot start the app") || !strings.Contains(errs, program) {
			t.Errorf("%s: exit code %d, want %d; stderr: %s", program, code, want, errs)
		}
	}
}

func TestAppOfAKilledSidecarIsToldToEnd(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	config := kit.File(t, "wrapped.yaml", strings.NewReplacer(c.Orders.App.Outbound, kit.FreeAddr(t), c.Orders.Mesh, kit.FreeAddr(t),
		c.Orders.Admin, kit.FreeAddr(t)).Replace(c.Orders.Config))
	self, _ := os.Executable()
	p := kit.Start(t, []string{"LINTEL_TEST_CHILD=" + kit.FreeAddr(t)}, "sidecar", "-c", config, "--", self)
	awaitText(t, p.Stdout, "app: up")
	pid, _ := strconv.Atoi(appPID.FindStringSubmatch(p.Stdout.String())[1])
	_ = syscall.Kill(p.PID(), syscall.SIGKILL)
	kit.Eventually(t, time.Minute, "the app has ended", func() error {
		if err := syscall.Kill(pid, 0); err != nil {
			return nil
		}
		return fmt.Errorf("process %d is there", pid)
	})
}

// manager listens where a service manager would (sd_notify(3)).
func manager(t testing.TB) (socket string, heard *kit.Output) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	heard = &kit.Output{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			_, _ = heard.Write(append(b[:n:n], '\n'))
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return socket, heard
}

func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	c.Orders.Process.Signal(syscall.SIGTERM)
	c.Orders.Process.Wait(time.Minute)
	socket, heard := manager(t)
	self, _ := os.Executable()
	app := kit.FreeAddr(t)
	config := kit.File(t, "wrapped.yaml", strings.ReplaceAll(c.Orders.Config, c.Orders.App.Addr, app))
	// The app comes late: the process is not ready before it.
	p := kit.Start(t, []string{"LINTEL_TEST_CHILD=" + app, "NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=200000"},
		"sidecar", "-c", config, "--", "sh", "-c", `while [ ! -e "`+socket+`.go" ]; do sleep 0.05; done; exec "$0"`, self)
	awaitText(t, heard, "STATUS=not ready: app")
	if strings.Contains(heard.String(), "READY=1") {
		t.Errorf("ready before the app was:\n%s", heard)
	}
	if err := os.WriteFile(socket+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	awaitText(t, heard, fmt.Sprintf("READY=1\nSTATUS=ready\nMAINPID=%d", p.PID()))
	awaitText(t, heard, "WATCHDOG=1")
	awaitText(t, p.Stdout, `notify=""`)
	p.Signal(syscall.SIGTERM)
	if code := p.Wait(time.Minute); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
	awaitText(t, heard, "STOPPING=1")
}

func TestLeaveGoesOnServing(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul})
	kit.Eventually(t, time.Minute, "Consul has it passing", func() error {
		if got, err := consulSees(consul, "orders"); got != "passing" {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
	code, out, errs := run(t, nil, "drain", "--leave", "--address", c.Orders.Admin)
	if code != 0 || out != "left\n" {
		t.Fatalf("exit code %d, %s%s", code, out, errs)
	}
	if got, err := consulSees(consul, "orders"); got != "draining" {
		t.Errorf("Consul has it %s, %v", got, err)
	}
	if r := mustReady(t, c.Orders.Admin); r.Code != 503 {
		t.Errorf("readyz: %d", r.Code)
	}
	if status, _, err := c.Orders.App.Ask(t.Context(), "inventory", "/x", http.Header{}); err != nil || status != 200 {
		t.Errorf("the app's own call: %d, %v", status, err)
	}
	if code, out, errs := run(t, nil, "drain", "--address", c.Orders.Admin); code != 0 {
		t.Errorf("drain: exit code %d, %s%s", code, out, errs)
	}
	if code := c.Orders.Process.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code, _, errs := run(t, nil, "drain", "--address", c.Orders.Admin); code != 1 || !strings.Contains(errs, "is Lintel running") {
		t.Errorf("of one that has ended: exit code %d, %s", code, errs)
	}
}
