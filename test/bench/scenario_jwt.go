package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// inUse is how many tokens clients hold in the usual case.
const inUse = 1000

// unseen is how many tokens a round of jwt_new_tokens uses, each of them once.
// Signing one costs more than verifying twenty, so they are few.
const unseen = 3000

// jwtInUse verifies an RS256 token per request, limits the rate per subject and
// writes an access log; a thousand tokens are in use.
func jwtInUse() *Scenario {
	s := jwtScenario("jwt", "RS256 JWT, rate limit and access log; 1,000 tokens in use", inUse)
	s.Target = "≤ 0.45 of HAProxy"
	return s
}

// jwtOneToken is the best case of whoever remembers what was verified.
func jwtOneToken() *Scenario {
	return jwtScenario("jwt_one_token", "the same with one token", 1)
}

// jwtNewTokens is the worst case: no token is ever seen again.
func jwtNewTokens() *Scenario {
	s := jwtScenario("jwt_new_tokens", "the same with every token new", inUse)
	s.Warm = s.Load   // with tokens that no round uses
	var next []string // signed between rounds, not while anything is measured
	prepare := s.Prepare
	s.Prepare = func(b *Bench) (func(), error) {
		cleanup, err := prepare(b)
		if err != nil {
			return nil, err
		}
		b.say("  signing %d tokens for each round", unseen)
		next, err = b.Tokens.make(unseen * b.opts.rounds)
		return cleanup, err
	}
	s.Load = func(ctx context.Context, b *Bench, t Turn) (Load, error) {
		share := next[t.Round*unseen:][:unseen]
		heads := make([][]byte, len(share))
		for i, token := range share {
			heads[i] = requestHead("GET", t.Running.Addr, "/", "Authorization: Bearer "+token+"\r\n")
		}
		return sendAll(ctx, t.Running.Addr, b.opts.connections, heads)
	}
	return s
}

func jwtScenario(name, title string, count int) *Scenario {
	file := func(b *Bench) string { return filepath.Join(b.dir, name+"-tokens.txt") }
	script := func(b *Bench) string { return filepath.Join(b.dir, name+".lua") }
	var first string
	return &Scenario{
		Name: name, Title: title,
		Metric:     cpuPerRequest,
		Tools:      []string{"wrk"},
		Contenders: edges(Edge{JWT: true}, "lintel", "haproxy"),
		Answer:     smallAnswer,
		Header:     func(*Bench) http.Header { return http.Header{"Authorization": {"Bearer " + first}} },
		Prepare: func(b *Bench) (func(), error) {
			list, err := b.Tokens.make(count)
			if err != nil {
				return nil, err
			}
			first = list[0]
			if err := os.WriteFile(file(b), []byte(strings.Join(list, "\n")+"\n"), 0o600); err != nil {
				return nil, err
			}
			return func() {}, os.WriteFile(script(b), []byte(fmt.Sprintf(rotate, file(b))), 0o600)
		},
		Load: wrkScript(script),
	}
}

// rotate sends one prepared request after the other, so that the load
// generator's own work stays small.
const rotate = `local requests, i = {}, 0
function init(args)
  for token in io.lines(%q) do
    requests[#requests + 1] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. token})
  end
end
function request()
  i = i %% #requests + 1
  return requests[i]
end
`
