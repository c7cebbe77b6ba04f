package admin

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

type oneCache struct{ asked []PurgeRequest }

func (c *oneCache) Stats() any { return []map[string]int{{"entries": 3}} }

func (c *oneCache) Purge(r PurgeRequest) (PurgeResult, error) {
	c.asked = append(c.asked, r)
	if r.URL == "bad" {
		return PurgeResult{}, errors.New("found bad")
	}
	return PurgeResult{Purged: 2}, nil
}

func TestPurge(t *testing.T) {
	c := &oneCache{}
	s := started(t, Config{Address: local}, Sources{Caches: c})
	addr := s.Addr().String()
	got, err := AskPurge(t.Context(), addr, PurgeRequest{Tag: "red", Cache: "name:a"})
	if err != nil || got.Purged != 2 || len(c.asked) != 1 || c.asked[0] != (PurgeRequest{Tag: "red", Cache: "name:a"}) {
		t.Errorf("%+v %v, asked %+v", got, err, c.asked)
	}
	if _, err := AskPurge(t.Context(), addr, PurgeRequest{URL: "bad"}); err == nil || err.Error() != "admin: found bad" {
		t.Errorf("a refusal reads %v", err)
	}
	var stats []map[string]int
	if err := AskCaches(t.Context(), addr, &stats); err != nil || len(stats) != 1 || stats[0]["entries"] != 3 {
		t.Errorf("%v %v", stats, err)
	}
}

func TestPurgeIsReadStrictly(t *testing.T) {
	c := &oneCache{}
	s := started(t, Config{Address: local}, Sources{Caches: c})
	for body, status := range map[string]int{
		`{"tag":"a"}`: 200, ``: 400, `{}x`: 400, `{"tags":["a"]}`: 400, `["a"]`: 400, `{"tag":"a"}{"tag":"b"}`: 400,
		`{"tag":"` + strings.Repeat("a", 100<<10) + `"}`: 400,
	} {
		for _, method := range []string{http.MethodPost, http.MethodDelete} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+"/cache/purge", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != status {
				t.Errorf("%s %.40s: %d, want %d", method, body, res.StatusCode, status)
			}
		}
	}
	if len(c.asked) != 2 {
		t.Errorf("asked %d times, want 2", len(c.asked))
	}
	resp, body := ask(t, "POST", "http://"+s.Addr().String()+"/cache/purge", "localhost", "Sec-Fetch-Site", "cross-site")
	wantProblem(t, resp, body, 403)
}

func TestAskingWhereThereIsNoCache(t *testing.T) {
	s := started(t, Config{Address: local}, Sources{})
	if _, err := AskPurge(t.Context(), s.Addr().String(), PurgeRequest{All: true}); err == nil || !strings.Contains(err.Error(), "no cache") {
		t.Error(err)
	}
	var stats any
	if err := AskCaches(t.Context(), s.Addr().String(), &stats); err == nil {
		t.Error("stats of nothing")
	}
	for _, addr := range []string{"nowhere", "127.0.0.1:1"} {
		if _, err := AskPurge(t.Context(), addr, PurgeRequest{All: true}); err == nil || !strings.HasPrefix(err.Error(), "admin: ") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
