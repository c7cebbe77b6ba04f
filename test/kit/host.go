package kit

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
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
	far  string // and there
	IP   string // the host's address
	Peer string // the test's address on the cable
}

var hosts atomic.Int64

// StartHost makes one, for as long as the test. It needs root and iproute2: without
// them the test fails, because a partition that was not made proves nothing.
func StartHost(t testing.TB) *Host {
	t.Helper()
	h := &Host{t: t, name: fmt.Sprintf("lk%d-%d", os.Getpid(), hosts.Add(1))}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", h.name).Run() }) // its cables go with it
	h.ip("netns", "add", h.name)
	h.ip("-n", h.name, "link", "set", "lo", "up")
	return h.AddCable()
}

// AddCable connects the host a second time, by addresses of their own, and answers
// the host with that cable as the one to cut.
func (h *Host) AddCable() *Host {
	h.t.Helper()
	n := hosts.Add(1)
	c := &Host{t: h.t, name: h.name, near: fmt.Sprintf("lk%d-%d", os.Getpid()%10000000, n), far: fmt.Sprintf("far%d", n)}
	net := fmt.Sprintf("10.%d.%d", 128+os.Getpid()%100, n)
	c.IP, c.Peer = net+".2", net+".1"
	h.ip("link", "add", c.near, "address", nearMAC, "type", "veth", "peer", "name", c.far, "address", farMAC, "netns", h.name)
	h.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", c.near).Run() })
	h.ip("addr", "add", c.Peer+"/24", "dev", c.near)
	h.ip("link", "set", c.near, "up")
	h.ip("-n", h.name, "addr", "add", c.IP+"/24", "dev", c.far)
	// Each end knows the other for good: a cut cable is silence, not an error.
	h.ip("neigh", "replace", c.IP, "lladdr", farMAC, "nud", "permanent", "dev", c.near)
	c.Heal()
	return c
}

const nearMAC, farMAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

// Cut drops every packet of the cable, in silence.
func (h *Host) Cut() {
	h.t.Helper()
	h.ip("-n", h.name, "link", "set", h.far, "down") // the near end stays up, and loses what it is given
}

// nft is the program, which Debian keeps where not everybody's PATH leads.
func nft() string {
	if path, err := exec.LookPath("nft"); err == nil {
		return path
	}
	return "/usr/sbin/nft"
}

// Lose drops some of the packets to and from the host, by chance. It needs Debian's
// nftables.
func (h *Host) Lose(percent int) {
	h.t.Helper()
	rules := "table inet lossy {\n"
	for _, hook := range []string{"input", "output"} {
		rules += fmt.Sprintf("chain %s { type filter hook %s priority 0; oifname \"lo\" accept; iifname \"lo\" accept; numgen random mod 100 < %d counter drop; }\n", hook, hook, percent)
	}
	cmd := h.Command(nft(), "-f", "-")
	cmd.Stdin = strings.NewReader(rules + "}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("kit: a lossy cable needs Debian's nftables: %v: %s", err, out)
	}
}

// Lost is how many packets Lose has dropped.
func (h *Host) Lost() (n int) {
	h.t.Helper()
	out, err := h.Command(nft(), "list", "table", "inet", "lossy").CombinedOutput()
	if err != nil {
		h.t.Fatalf("kit: nft: %v: %s", err, out)
	}
	for _, m := range regexp.MustCompile(`counter packets ([0-9]+)`).FindAllSubmatch(out, -1) {
		k, _ := strconv.Atoi(string(m[1]))
		n += k
	}
	return n
}

// Heal undoes Cut.
func (h *Host) Heal() {
	h.t.Helper()
	h.ip("-n", h.name, "link", "set", h.far, "up")
	h.ip("-n", h.name, "neigh", "replace", h.Peer, "lladdr", nearMAC, "nud", "permanent", "dev", h.far)
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
