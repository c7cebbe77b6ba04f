package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"lintel.dev/lintel/admin"
)

type cachesOf struct{ asked []admin.PurgeRequest }

func (c *cachesOf) Stats() any {
	return []map[string]any{{"name": "route:pages", "entries": 2, "bytes": 3000, "max_bytes": 65536, "hits": 7, "misses": 1, "stored": 2}}
}

func (c *cachesOf) Purge(p admin.PurgeRequest) (admin.PurgeResult, error) {
	c.asked = append(c.asked, p)
	if p.Cache == "none" {
		return admin.PurgeResult{}, errors.New("there is no cache none")
	}
	return admin.PurgeResult{Purged: 3}, nil
}

func TestTheCacheCommand(t *testing.T) {
	caches := &cachesOf{}
	s, err := admin.New(admin.Config{Address: "127.0.0.1:0"}, admin.Sources{Caches: caches}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Shutdown(context.Background()) }()
	for _, c := range []struct {
		args  []string
		out   string
		asked admin.PurgeRequest
		fails string // "", "usage" or "failed"
	}{
		{[]string{"purge", "--tag", "a"}, "3 purged\n", admin.PurgeRequest{Tag: "a"}, ""},
		{[]string{"purge", "--url", "https://h/a", "--output", "json"}, `{"purged":3}` + "\n", admin.PurgeRequest{URL: "https://h/a"}, ""},
		{[]string{"purge", "--prefix", "/a", "--cache", "name:x"}, "3 purged\n", admin.PurgeRequest{Prefix: "/a", Cache: "name:x"}, ""},
		{[]string{"purge", "--all"}, "3 purged\n", admin.PurgeRequest{All: true}, ""},
		{[]string{"purge", "--all", "--cache", "none"}, "", admin.PurgeRequest{All: true, Cache: "none"}, "failed"},
		{[]string{"purge"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--tag", ""}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--all=false"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--tag", "a", "--all"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--url", "shop.example/a"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--url", "ftp://h/a"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--url", "http://h/%zz"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--prefix", "https://h/a#b"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "a"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--tag", "a", "--output", "yaml"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"purge", "--tag", "a", "--address", "nowhere"}, "", admin.PurgeRequest{}, "usage"},
		{[]string{"stats"}, "route:pages: 2 entries, 3000 of 65536 bytes, 7 hits, 1 misses\n", admin.PurgeRequest{}, ""},
		{[]string{"stats", "--output", "json"}, `[{"bytes":3000,"entries":2,"hits":7,"max_bytes":65536,"misses":1,"name":"route:pages","stored":2}]` + "\n", admin.PurgeRequest{}, ""},
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(append([]string{"cache", c.args[0], "--address", s.Addr().String()}, c.args[1:]...))
		caches.asked = nil
		err := root.Execute()
		kind := ""
		if errors.As(err, &usageError{}) {
			kind = "usage"
		} else if err != nil {
			kind = "failed"
		}
		if kind != c.fails || out.String() != c.out {
			t.Errorf("%v: %q %v, want %q %q", c.args, out.String(), err, c.out, c.fails)
		}
		if want := (c.asked != admin.PurgeRequest{}); want != (len(caches.asked) == 1) || want && caches.asked[0] != c.asked {
			t.Errorf("%v: asked %+v, want %+v", c.args, caches.asked, c.asked)
		}
	}
}
