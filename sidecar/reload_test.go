package sidecar

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
	"lintel.dev/lintel/proxy/cluster"
)

// What the app has called between a reload that failed and one that did not keeps
// its cluster and connections.
func TestWhatWasCalledAfterAFailedReloadIsKept(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer service.Close()
	file := filepath.Join(t.TempDir(), "f.yaml")
	write := func(inbound string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("version: 1\nidentity: {source: embedded}\nadmin: {address: off}\n"+
			"sidecar: {service: orders, app: \"127.0.0.1:1\", mesh: \"127.0.0.1:0\", outbound: \"127.0.0.1:0\", inbound: ["+inbound+"]}\n"+
			"services: {pay: {static: [\""+service.Listener.Addr().String()+"\"]}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	s, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Start(t.Context(), Options{Snapshot: s, Path: file, Version: "test", Out: io.Discard, Log: slog.New(slog.DiscardHandler), Catalog: discovery.NewCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.release(t.Context())

	write("jwt: {keys: [{jwks_file: /nowhere}]}")
	if err := c.reloader.Reload(); err == nil {
		t.Fatal("a reload without keys went well")
	}
	_, port, _ := net.SplitHostPort(c.Addr(outboundListener))
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:" + port})}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://pay/")
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	write("")
	if err := c.reloader.Reload(); err != nil {
		t.Fatal(err)
	}
	if s := c.watched.Clusters.Status(); !slices.ContainsFunc(s, func(s cluster.Status) bool { return s.Service == "pay" && s.Connections == 1 }) {
		t.Errorf("it is forgotten: %+v", s)
	}
}
