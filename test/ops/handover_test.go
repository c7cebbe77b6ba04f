package ops_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// pidIn reads a pid file, 0 when there is none yet.
func pidIn(file string) int {
	b, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// handOver has a new process take over from the one in file, and waits until it
// has. The last process is killed when the test ends.
func handOver(t testing.TB, file string) (pid int) {
	t.Helper()
	before := pidIn(file)
	if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, time.Minute, "a new process has taken over", func() error {
		if pid = pidIn(file); pid == before || pid == 0 {
			return fmt.Errorf("process %d serves", before)
		}
		return nil
	})
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

func awaitEnd(t testing.TB, pid int) {
	t.Helper()
	kit.Eventually(t, time.Minute, fmt.Sprintf("process %d has ended", pid), func() error {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("it is there")
		}
		return nil
	})
}

func TestNewBinaryTakesOverUnderLoad(t *testing.T) {
	t.Parallel()
	c := kit.StartChain(t, kit.ChainOptions{NoIngress: true})
	socket, heard := manager(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c.Ingress = kit.Start(t, []string{"NOTIFY_SOCKET=" + socket}, "ingress", "-c", c.File, "--pid-file", pidFile).Ready(c.Admin)
	awaitText(t, heard, "READY=1")
	token := c.Token(nil)
	ws := openSocket(t, c, "/open/ws")
	l := kit.StartLoad(t, nil, kit.Shot{Method: "GET", URL: "http://" + c.Edge + "/orders/x", Token: token, Expect: `"app":"orders"`},
		kit.Shot{Method: "POST", URL: "http://" + c.Edge + "/open/x", Body: "once", Expect: `"app":"orders"`})
	l.During(300 * time.Millisecond)

	pid := handOver(t, pidFile)
	awaitText(t, heard, fmt.Sprintf("MAINPID=%d", pid))
	if err := say(ws, "the old one goes on"); err != nil {
		t.Errorf("WebSocket: %v", err)
	}
	if !c.Ingress.Running() {
		t.Error("the old process ended with a WebSocket still open")
	}
	c.Ingress.Signal(syscall.SIGUSR2) // one that is on its way out starts nobody
	_ = ws.CloseNow()
	if code := c.Ingress.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d of the old process, want 0", code)
	}
	mustReady(t, c.Admin)
	again := handOver(t, pidFile)
	awaitEnd(t, pid)

	// A configuration that no new process could start with costs nothing.
	kit.Replace(t, c.File, "version: 1\nlisteners: nonsense\n")
	if err := syscall.Kill(again, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	awaitText(t, c.Ingress.Stderr, "the new process did not become ready; this one goes on")
	l.During(300 * time.Millisecond)
	if got := pidIn(pidFile); got != again {
		t.Errorf("process %d serves, want still %d", got, again)
	}
	l.Clean(200)
	if strings.Contains(heard.String(), "STOPPING=1") {
		t.Errorf("the service manager was told that all is stopping:\n%s", heard)
	}
	_ = syscall.Kill(again, syscall.SIGTERM)
	awaitEnd(t, again)
	awaitRefused(t, c.Edge)
}

func TestNewSidecarTakesOverUnderLoad(t *testing.T) {
	t.Parallel()
	consul := kit.StartConsul(t)
	c := kit.StartChain(t, kit.ChainOptions{Consul: consul})
	c.Orders.Process.Signal(syscall.SIGTERM)
	c.Orders.Process.Wait(time.Minute)
	pidFile := filepath.Join(t.TempDir(), "pid")
	c.Orders.Process = kit.Start(t, nil, "sidecar", "-c", c.Orders.File, "--pid-file", pidFile).Ready(c.Orders.Admin)
	awaitOpen(t, c, "/open/x")
	kit.Eventually(t, time.Minute, "Consul has it passing", func() error {
		if got, err := consulSees(consul, "orders"); got != "passing" {
			return fmt.Errorf("%s, %v", got, err)
		}
		return nil
	})
	l := kit.StartLoad(t, nil, kit.Shot{Method: "POST", URL: "http://" + c.Edge + "/open/x", Body: "in", Expect: `"app":"orders"`},
		kit.Shot{Method: "GET", URL: "http://" + c.Edge + "/orders/call?service=inventory&path=/x", Token: c.Token(nil), Expect: `"next_status":200`})
	left := make(chan string, 1)
	stop, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got, err := consulSees(consul, "orders"); err == nil && got != "passing" {
				select {
				case left <- got:
				default:
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	pid := handOver(t, pidFile)
	if code := c.Orders.Process.Wait(time.Minute); code != 0 {
		t.Errorf("exit code %d of the old process, want 0", code)
	}
	l.During(4 * time.Second) // longer than a TTL that nobody renews
	close(stop)
	<-watched
	select {
	case got := <-left:
		t.Errorf("Consul saw it %s meanwhile", got)
	default:
	}
	l.Clean(200)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	awaitEnd(t, pid)
	if got, err := consulSees(consul, "orders"); got != "gone" {
		t.Errorf("after the end Consul has it %s, %v", got, err)
	}
}
