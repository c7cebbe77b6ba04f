package mesh_test

import (
	"net/http"
	"testing"
	"time"

	"lintel.dev/lintel/test/kit"
)

// Error budget: no request fails when every fiftieth packet between the ingress and
// each of its hosts is lost, whether exchanges share connections or not. Which of
// the two is faster then is measured, and said in docs/failures.md.
func TestALossyLinkFailsNoRequest(t *testing.T) {
	t.Parallel()
	for name, share := range map[string]string{"shared": "", "a connection each": ", share_connections: false"} {
		t.Run(name, func(t *testing.T) {
			hosts := []*kit.Host{kit.StartHost(t), kit.StartHost(t)}
			w := startWeb(t, plan{ttl: "1h", endpoints: 2, hosts: hosts, terms: "mesh: true, balance: round_robin, connect_timeout: 8s" + share})
			for _, h := range hosts {
				h.Lose(2)
			}
			l := w.load()
			tr := &http.Transport{MaxIdleConnsPerHost: 64}
			for range 16 {
				l.Also(tr, kit.Shot{Method: http.MethodGet, URL: "http://" + w.edge + "/lossy", Expect: "served by"})
			}
			l.During(10 * time.Second)
			l.Clean(1000)
			lost := hosts[0].Lost() + hosts[1].Lost()
			t.Logf("%d packets lost; p50 %v, p99 %v, p99.9 %v", lost, l.Quantile(0.5), l.Quantile(0.99), l.Quantile(0.999))
			if lost < 20 {
				t.Errorf("only %d packets were lost: that shows nothing", lost)
			}
			within(t, "the slowest request over a lossy link, "+name, l.Slowest(), 25*time.Second)
		})
	}
}
