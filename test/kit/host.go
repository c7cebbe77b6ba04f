package kit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// Host is a network namespace that one cable connects with the test's: its
// processes share the disk with the test, and nothing of the network.
type Host struct {
	t    testing.TB
	name string
	near string // the cable's end here
	IP   string // the host's address
	Peer string // the test's address on the cable
}

var hosts atomic.Int64

// StartHost makes one, for as long as the test. It needs root and iproute2: without
// them the test fails, because a partition that was not made proves nothing.
func StartHost(t testing.TB) *Host {
	t.Helper()
	n := hosts.Add(1)
	id := fmt.Sprintf("lk%d-%d", os.Getpid()%100000, n)
	net := fmt.Sprintf("10.%d.%d", 128+os.Getpid()%100, n)
	h := &Host{t: t, name: id, near: id + "n", IP: net + ".2", Peer: net + ".1"}
	t.Cleanup(func() {
		_ = exec.Command("ip", "link", "del", h.near).Run() // the namespace may be gone with it
		_ = exec.Command("ip", "netns", "del", h.name).Run()
	})
	h.ip("netns", "add", h.name)
	h.ip("link", "add", h.near, "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "far", "address", "02:00:00:00:00:02", "netns", h.name)
	h.ip("addr", "add", h.Peer+"/24", "dev", h.near)
	h.ip("link", "set", h.near, "up")
	h.ip("-n", h.name, "addr", "add", h.IP+"/24", "dev", "far")
	h.ip("-n", h.name, "link", "set", "lo", "up")
	h.Heal()
	// Each end knows the other for good: a cut cable is silence, not an error.
	h.ip("neigh", "replace", h.IP, "lladdr", "02:00:00:00:00:02", "nud", "permanent", "dev", h.near)
	return h
}

// Cut drops every packet of the cable, in silence.
func (h *Host) Cut() { h.t.Helper(); h.ip("-n", h.name, "link", "set", "far", "down") }

// Heal undoes Cut.
func (h *Host) Heal() {
	h.t.Helper()
	h.ip("-n", h.name, "link", "set", "far", "up")
	h.ip("-n", h.name, "neigh", "replace", h.Peer, "lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", "far")
}

func (h *Host) ip(args ...string) {
	h.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		h.t.Fatalf("kit: this test needs network namespaces (root, and Debian's iproute2): ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Command runs a program on the host; a nil one is the machine itself.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	if h == nil {
		return exec.Command(name, args...)
	}
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}
