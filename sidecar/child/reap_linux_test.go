package child

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessOneCollectsOrphans runs itself as process 1 of a PID namespace, where
// its app leaves orphans behind.
func TestProcessOneCollectsOrphans(t *testing.T) {
	if os.Getpid() == 1 {
		asProcessOne()
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestProcessOneCollectsOrphans$", "-test.count", "1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "orphans collected, app ended with 9") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func asProcessOne() {
	r, w, _ := os.Pipe()
	// The orphan says its id, and ends only when its parent has.
	app, err := Start(Command{Args: []string{"sh", "-c", `(sh -c 'echo $$; sleep 0.3' &) ; sleep 2; exit 9`}, Stdout: w})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer Reap(app.PID())()
	var orphan int
	if _, err := fmt.Fscan(r, &orphan); err != nil {
		fmt.Println("no orphan:", err)
		os.Exit(1)
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(orphan, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			fmt.Printf("process %d was never collected\n", orphan)
			os.Exit(1)
		}
	}
	fmt.Printf("orphans collected, app ended with %d\n", app.Code())
}
