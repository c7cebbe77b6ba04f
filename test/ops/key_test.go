package ops_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/filter/apikey"
	"lintel.dev/lintel/test/kit"
)

func TestKeysAreMadeAndHashed(t *testing.T) {
	t.Parallel()
	code, out, says := run(t, nil, "key", "new", "--consumer", "ada's app", "--id", "2026-02", "--output", "json")
	var made struct{ Key, Hash, Consumer, ID string }
	if err := json.Unmarshal([]byte(out), &made); code != 0 || err != nil || made.Consumer != "ada's app" || made.ID != "2026-02" {
		t.Fatalf("%d %v %s%s", code, err, out, says)
	}
	hash := func(input string, args ...string) (string, error) {
		cmd := exec.Command(kit.Binary(t), append([]string{"key", "hash"}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		b, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(b)), err
	}
	if got, err := hash(made.Key + "\n"); err != nil || got != made.Hash {
		t.Errorf("%s %v, want %s", got, err, made.Hash)
	}
	for name, c := range map[string]struct {
		input string
		args  []string
	}{"mistyped": {made.Key[:len(made.Key)-1] + "_", nil}, "nothing": {"", nil}, "short": {"hunter2", nil}, "on the command line": {"", []string{made.Key}}} {
		got, err := hash(c.input, c.args...)
		if err == nil || c.input != "" && strings.Contains(got, c.input) || strings.Contains(got, made.Key) {
			t.Errorf("%s: %v %s", name, err, got)
		}
	}
	_, text, _ := run(t, nil, "key", "new", "--consumer", "ada's app", "--id", "2026-02")
	key, entry, ok := strings.Cut(text, "\n")
	if !ok || strings.Contains(entry, key) {
		t.Fatalf("%s", text)
	}
	s, err := config.Parse("lintel.yaml", []byte("version: 1\n"+entry))
	if err != nil {
		t.Fatalf("the lines for the configuration are none: %v\n%s", err, entry)
	}
	if k := s.Consumers["ada's app"].APIKeys; len(k) != 1 || k[0].ID != "2026-02" {
		t.Errorf("%+v", k)
	}
	if got, err := hash(key); err != nil || got != s.Consumers["ada's app"].APIKeys[0].Hash {
		t.Errorf("%s %v", got, err)
	}
}

func TestARevokedKeyIsRefusedFromTheNextReloadOn(t *testing.T) {
	t.Parallel()
	addr, admin := kit.FreeAddr(t), kit.FreeAddr(t)
	stays, goes := apikey.New(), apikey.New()
	text := func(keys ...string) string {
		hashes := make([]string, len(keys))
		for i, k := range keys {
			hashes[i] = strconv.Quote(apikey.Hash(k))
		}
		return fmt.Sprintf(`version: 1
listeners: [{name: edge, address: %q}]
admin: {address: %q}
consumers: {partner: {api_keys: [%s]}}
routes: [{name: all, filters: [api_key], respond: {body: ok}}]
`, addr, admin, strings.Join(hashes, ", "))
	}
	file := kit.File(t, "keys.yaml", text(goes))
	kit.Start(t, nil, "ingress", "-c", file).Ready(admin)
	status := func(key string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-API-Key", key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	check := func(when string, wantGoes, wantStays int) {
		t.Helper()
		kit.Eventually(t, time.Minute, when, func() error {
			if a, b := status(goes), status(stays); a != wantGoes || b != wantStays {
				return fmt.Errorf("%d and %d, want %d and %d", a, b, wantGoes, wantStays)
			}
			return nil
		})
	}
	check("one key", 200, 401)
	kit.Replace(t, file, text(goes, stays))
	check("both while they are exchanged", 200, 200)
	kit.Replace(t, file, text(stays))
	check("the other alone", 401, 200)
	http.DefaultClient.CloseIdleConnections()
}
