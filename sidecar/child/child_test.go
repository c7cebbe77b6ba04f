package child

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, c Command) *Child {
	t.Helper()
	p, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(0) })
	return p
}

func TestExitCodeIsTheApps(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{{"exit 0", 0}, {"exit 7", 7}, {"kill -TERM $$", 143}, {"kill -9 $$", 137}} {
		if got := start(t, Command{Args: []string{"sh", "-c", c.script}}).Code(); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.script, got, c.want)
		}
	}
}

func TestWhatCannotBeStarted(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want int
	}{{"no-such-program-anywhere", NotFound}, {"/no/such/program", NotFound}, {plain, CannotRun}, {t.TempDir(), CannotRun}} {
		_, err := Start(Command{Args: []string{c.name}})
		var e *Exit
		if !errors.As(err, &e) || e.Code != c.want || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v, want exit code %d and its name", c.name, err, c.want)
		}
	}
}

// line reads what the app says until a newline.
func line(t *testing.T, r io.Reader) string {
	t.Helper()
	var b bytes.Buffer
	one := make([]byte, 1)
	for {
		if _, err := r.Read(one); err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		if one[0] == '\n' {
			return b.String()
		}
		b.WriteByte(one[0])
	}
}

// piped starts a script whose output is read from the pipe returned.
func piped(t *testing.T, script string, env ...string) (*Child, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	p := start(t, Command{Args: []string{"sh", "-c", script}, Stdout: w, Env: env})
	_ = w.Close()
	return p, r
}

func TestSignalsArePassedOn(t *testing.T) {
	p, out := piped(t, `trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.05; done`)
	if got := line(t, out); got != "up" {
		t.Fatal(got)
	}
	p.Signal(syscall.SIGUSR1)
	if got := line(t, out); got != "usr1" {
		t.Errorf("after SIGUSR1: %q", got)
	}
	p.Signal(syscall.SIGHUP)
	if got := line(t, out); got != "hup" {
		t.Errorf("after SIGHUP: %q", got)
	}
	if killed := p.Stop(time.Minute); killed || p.Code() != 3 {
		t.Errorf("killed %v, exit code %d; want 3 by itself", killed, p.Code())
	}
	if got := line(t, out); got != "term" {
		t.Errorf("after Stop: %q", got)
	}
}

func TestOneThatIgnoresItsEndIsKilledWithItsChildren(t *testing.T) {
	p, out := piped(t, `trap '' TERM; sleep 1000 & echo up; while :; do sleep 1000; done`)
	line(t, out)
	if killed := p.Stop(50 * time.Millisecond); !killed || p.Code() != 137 {
		t.Errorf("killed %v, exit code %d; want 137", killed, p.Code())
	}
	// Its children held the pipe open: they are gone when it ends.
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("LINTEL_TEST_INHERITED", "yes")
	_, out := piped(t, `echo "$NOTIFY_SOCKET|$LINTEL_TEST_INHERITED|$LINTEL_OUTBOUND"`, "LINTEL_OUTBOUND=127.0.0.1:15001")
	if got := line(t, out); got != "|yes|127.0.0.1:15001" {
		t.Errorf("the app sees %q", got)
	}
}
