package mesh_test

import (
	"testing"
	"time"
)

// Error budget: no idempotent request fails when the app of one of three endpoints
// is killed, or its sidecar, or both; and the endpoint is used again.
func TestDeathOfOneOfThreeEndpointsFailsNoIdempotentRequest(t *testing.T) {
	t.Parallel()
	w := startWeb(t, plan{ttl: "1h", endpoints: 3})
	victim := w.sides[0]
	l := w.load()
	for _, c := range []struct {
		what         string
		app, sidecar bool
	}{{"app", true, false}, {"sidecar", false, true}, {"app and sidecar", true, true}} {
		w.awaitServed(victim)
		if c.app {
			victim.app.kill()
		}
		if c.sidecar {
			victim.sidecar.Kill()
		}
		within(t, "left out after the death of its "+c.what, w.await(2), 20*time.Second)
		l.During(time.Second)
		began := time.Now()
		if c.app {
			w.startApp(victim)
		}
		if c.sidecar {
			w.startSidecar(victim)
		}
		w.await(3)
		w.awaitServed(victim)
		within(t, "used again after the return of its "+c.what, time.Since(began), 30*time.Second)
	}
	l.Clean(500)
}
