package ops_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/proxy/store/redistest"
	"lintel.dev/lintel/test/kit"
)

// Consul's own proxy calls a TCP sidecar, by intention, and loses a running
// connection within seconds when the intention changes.
func TestConsulsProxyCallsATCPSidecar(t *testing.T) {
	t.Parallel()
	consul, redis := kit.StartConsul(t), redistest.Start(t)
	intend(consul, "redis", "web", "allow", "*", "deny")
	admin, mesh, local := kit.FreeAddr(t), kit.FreeAddr(t), kit.FreeAddr(t)
	file := kit.File(t, "redis.yaml", fmt.Sprintf("version: 1\nsidecar: {service: redis, app: %q, app_protocol: tcp, mesh: %q, outbound: \"off\"}\n"+
		"discovery: {consul: {}}\nidentity: {source: consul}\nadmin: {address: %q}\n", redis.Addr(), mesh, admin))
	kit.Start(t, consul.Env(), "sidecar", "-c", file).Ready(admin)
	proxy := exec.Command(consulBin(t), "connect", "proxy", "-service", "web", "-upstream", "redis:"+local[strings.LastIndex(local, ":")+1:],
		"-http-addr", consul.HTTPAddr(), "-log-level", "warn")
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Process.Kill(); _ = proxy.Wait() })
	kit.Eventually(t, time.Minute, "Consul's proxy reaches redis", func() error {
		c, line, err := redisThrough(t, local)
		if err != nil {
			return err
		}
		_ = c.Close()
		if line != "+PONG\r\n" {
			return fmt.Errorf("%q", line)
		}
		return nil
	})
	conn, _, err := redisThrough(t, local)
	if err != nil {
		t.Fatal(err)
	}
	intend(consul, "redis", "*", "deny")
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the connection outlived its intention: %v", err)
	}
	_ = conn.Close()
}

// And the reverse: a TCP upstream of ours reaches a service behind Consul's own proxy.
func TestATCPUpstreamCallsConsulsProxy(t *testing.T) {
	t.Parallel()
	consul, redis := kit.StartConsul(t), redistest.Start(t)
	intend(consul, "redis", "web", "allow", "*", "deny")
	admin, mesh, local := kit.FreeAddr(t), kit.FreeAddr(t), kit.FreeAddr(t)
	proxy := exec.Command(consulBin(t), "connect", "proxy", "-service", "redis", "-service-addr", redis.Addr(), "-listen", mesh,
		"-http-addr", consul.HTTPAddr(), "-log-level", "warn")
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Process.Kill(); _ = proxy.Wait() })
	file := kit.File(t, "web.yaml", fmt.Sprintf("version: 1\nsidecar: {service: web, outbound: \"off\", upstreams: [{service: redis, bind: %q, protocol: tcp}]}\n"+
		"services: {redis: {mesh: true, static: %q}}\ndiscovery: {consul: {}}\nidentity: {source: consul}\nadmin: {address: %q}\n", local, mesh, admin))
	kit.Start(t, consul.Env(), "sidecar", "-c", file).Ready(admin)
	kit.Eventually(t, time.Minute, "redis behind Consul's proxy answers", func() error {
		c, line, err := redisThrough(t, local)
		if err != nil {
			return err
		}
		_ = c.Close()
		if line != "+PONG\r\n" {
			return fmt.Errorf("%q", line)
		}
		return nil
	})
}
