package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Caches is what admin asks of the room that keeps answers.
type Caches interface {
	Stats() any
	Purge(PurgeRequest) (PurgeResult, error) // an error is the asker's mistake
}

// PurgeRequest says which kept answers are to be forgotten: exactly one of URL,
// Prefix, Tag and All.
type PurgeRequest struct {
	URL    string `json:"url,omitempty"`    // https://host/path?query, or /path?query on any host
	Prefix string `json:"prefix,omitempty"` // the beginning of such a URL
	Tag    string `json:"tag,omitempty"`    // as Surrogate-Key or Cache-Tag of an answer list them
	All    bool   `json:"all,omitempty"`
	Cache  string `json:"cache,omitempty"` // only in this cache
}

// PurgeResult is what came of it.
type PurgeResult struct {
	Purged int  `json:"purged"`           // by this instance
	Untold bool `json:"untold,omitempty"` // instances that share the cache will hear of it once Redis answers
}

func (s *Server) caches(w http.ResponseWriter, r *http.Request) {
	if s.src.Caches == nil {
		absent(w, "cache")
		return
	}
	s.answer(w, r, http.StatusOK, s.src.Caches.Stats())
}

func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	if s.src.Caches == nil {
		absent(w, "cache")
		return
	}
	var p PurgeRequest
	more, err := readOne(r, &p)
	if err != nil {
		problem(w, http.StatusBadRequest, "bad-purge", `Send JSON with one of url, prefix, tag and all, as {"tag": "product-7"}: `+err.Error())
		return
	}
	if more {
		problem(w, http.StatusBadRequest, "bad-purge", "There is more than one JSON value.")
		return
	}
	n, err := s.src.Caches.Purge(p)
	if err != nil {
		problem(w, http.StatusBadRequest, "bad-purge", err.Error())
		return
	}
	s.log.Info("cache purged through the admin API", "from", r.RemoteAddr, "url", p.URL, "prefix", p.Prefix, "tag", p.Tag,
		"all", p.All, "cache", p.Cache, "purged", n.Purged, "untold", n.Untold)
	s.answer(w, r, http.StatusOK, n)
}

// askTimeout bounds a question to a running Lintel.
const askTimeout = 10 * time.Second

// AskPurge has the Lintel whose admin API is at addr forget kept answers.
func AskPurge(ctx context.Context, addr string, p PurgeRequest) (PurgeResult, error) {
	var out PurgeResult
	body, err := json.Marshal(p)
	if err != nil {
		return out, fmt.Errorf("admin: %w", err)
	}
	return out, talk(ctx, addr, http.MethodPost, "/cache/purge?compact", body, &out)
}

// AskCaches asks it how its caches are doing; into is filled from JSON.
func AskCaches(ctx context.Context, addr string, into any) error {
	return talk(ctx, addr, http.MethodGet, "/cache?compact", nil, into)
}

func talk(ctx context.Context, addr, method, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := question(ctx, addr, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, 16<<20))
	if resp.StatusCode != http.StatusOK {
		var p struct{ Detail string }
		if err := d.Decode(&p); err != nil || p.Detail == "" {
			return fmt.Errorf("admin: %s answered %s", addr, resp.Status)
		}
		return fmt.Errorf("admin: %s", p.Detail)
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("admin: %s did not answer in JSON: %w", addr, err)
	}
	return nil
}
