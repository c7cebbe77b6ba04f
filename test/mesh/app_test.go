package mesh_test

import (
	"io"
	"os"
	"os/exec"
	"sync"

	"lintel.dev/lintel/test/kit"
)

// app is a service as a process: this test binary in another part.
type app struct {
	cmd   *exec.Cmd
	stdin io.Closer
	once  sync.Once
}

func (w *web) startApp(s *side) {
	w.t.Helper()
	a := &app{cmd: s.host.Command(os.Args[0])}
	a.cmd.Env = append(os.Environ(), "LINTEL_MESH_APP="+s.name, "LINTEL_MESH_ADDR="+s.addr)
	var err error
	if a.stdin, err = a.cmd.StdinPipe(); err == nil {
		err = a.cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.kill)
	s.app = a
	if s.host == nil { // else the cable does not lead to its loopback address
		kit.Eventually(w.t, patience, s.name+" listens", func() error { _, err := get("http://" + s.addr); return err })
	}
}

// kill is kill -9.
func (a *app) kill() {
	a.once.Do(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		_ = a.stdin.Close()
	})
}
