package ops_test

import (
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"lintel.dev/lintel/test/kit"
)

// TestProbesByEachProtocol: HTTP, HTTPS, gRPC and TCP, of an endpoint that is well
// and then is not.
func TestProbesByEachProtocol(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "probe.test" || r.URL.RequestURI() != "/healthz?deep=1" || r.Header.Get("X-Probe") != "yes" || r.UserAgent() != "lintel-health" || ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	plain, secure := httptest.NewServer(answer), httptest.NewTLSServer(answer)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	h2 := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
			return
		}
		answer(w, r)
	}))
	h2.Config.Protocols = new(http.Protocols)
	h2.Config.Protocols.SetUnencryptedHTTP2(true)
	h2.Start()
	t.Cleanup(h2.Close)
	ca := kit.File(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, status := grpc.NewServer(), grpchealth.NewServer()
	grpc_health_v1.RegisterHealthServer(server, status)
	status.SetServingStatus("orders.v1.Orders", grpc_health_v1.HealthCheckResponse_SERVING)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	admin := kit.FreeAddr(t)
	const often = "interval: 200ms, timeout: 200ms, unhealthy: 2"
	http1 := "http: {path: /healthz?deep=1, host: probe.test, headers: {x-probe: 'yes'}}, " + often
	file := kit.File(t, "ingress.yaml", fmt.Sprintf(`version: 1
listeners: [{name: edge, address: "127.0.0.1:0"}]
admin: {address: %q}
routes:
  - {name: plain, match: {path: /plain}, service: plain}
  - {name: secure, match: {path: /secure}, service: secure}
  - {name: strangers, match: {path: /strangers}, service: strangers}
  - {name: grpc, match: {path: /grpc}, service: grpc}
  - {name: nobody, match: {path: /nobody}, service: nobody}
  - {name: h2, match: {path: /h2}, service: h2}
  - {name: tcp, match: {path: /tcp}, service: tcp}
services:
  plain: {static: %q, health: {%s}}
  secure: {static: %q, tls: {ca: %q}, health: {%s}}
  strangers: {static: %q, tls: {}, health: {tcp: {}, %s}}
  grpc: {static: %q, protocol: h2, health: {grpc: {service: orders.v1.Orders}, %s}}
  h2: {static: %q, protocol: h2, health: {%s}}
  nobody: {static: %q, protocol: h2, health: {grpc: {service: unheard.of}, %s}}
  tcp: {static: %q, health: {tcp: {}, %s}}
`, admin, plain.Listener.Addr(), http1, secure.Listener.Addr(), ca, http1, secure.Listener.Addr(), often, l.Addr(), often, h2.Listener.Addr(), http1, l.Addr(), often, l.Addr(), often))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	awaitState(t, admin, "strangers", "unhealthy", "certificate")
	awaitState(t, admin, "nobody", "unhealthy", `grpc-status "5"`)
	for _, s := range []string{"plain", "secure", "h2", "grpc", "tcp"} {
		awaitState(t, admin, s, "healthy", "")
	}
	ill.Store(true)
	status.SetServingStatus("orders.v1.Orders", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	awaitState(t, admin, "plain", "unhealthy", "status 503")
	awaitState(t, admin, "secure", "unhealthy", "status 503")
	awaitState(t, admin, "h2", "unhealthy", "status 503")
	awaitState(t, admin, "grpc", "unhealthy", "serving status 2")
	ill.Store(false)
	status.SetServingStatus("orders.v1.Orders", grpc_health_v1.HealthCheckResponse_SERVING)
	for _, s := range []string{"plain", "secure", "h2", "grpc", "tcp"} {
		awaitState(t, admin, s, "healthy", "")
	}
	server.Stop()
	awaitState(t, admin, "tcp", "unhealthy", "refused")
}
