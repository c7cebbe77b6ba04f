//go:build !race

package ingress

import "testing"

// TestPlainAllocations: an exchange allocates its Life, which is the engine's
// and must be a new one each time, so that whoever ends it too late ends nothing
// else. All that is between the engine and the transport allocates nothing.
func TestPlainAllocations(t *testing.T) { allocatesItsLifeOnly(t, newPath(t, plain)) }

// TestSecuredAllocations: neither does a token that was seen before, or a limit.
func TestSecuredAllocations(t *testing.T) {
	allocatesItsLifeOnly(t, newPath(t, secured).with("Authorization", bearer()))
}

func allocatesItsLifeOnly(t *testing.T, p *path) {
	t.Helper()
	for range 100 { // pools and buffers find their sizes
		p.exchange()
	}
	if n := testing.AllocsPerRun(5000, p.exchange); n > 1 {
		t.Errorf("an exchange allocates %v times, want its Life alone", n)
	}
	if p.bad != "" {
		t.Error(p.bad)
	}
}
