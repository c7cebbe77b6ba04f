package discovery

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"lintel.dev/lintel/test/kit"
)

func TestConsulTellsWhereWeAre(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t, kit.WithHCL(`node_meta { availability_zone = "eu-1a" }`))
	zone, node, err := client(t, agent).Locate(t.Context())
	if err != nil || zone != "eu-1a" || node != "lintel-test" {
		t.Errorf("%q %q %v", zone, node, err)
	}
	agent.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := client(t, agent).Locate(ctx); err == nil {
		t.Error("nobody answers, and no error")
	}
}

func TestConsulWarningWeightsAndPreparedQueries(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t)
	h := newTestHub(t, HubConfig{})
	c := client(t, agent)
	weights := func(s *seen) map[string]int {
		out := map[string]int{}
		for _, e := range s.last().Endpoints {
			out[e.Address] = e.Weight
		}
		return out
	}
	_, strict := subscribe(t, h, c, Query{Service: "orders"})
	_, warned := subscribe(t, h, c, Query{Service: "orders", Warning: true})
	_, absent := subscribe(t, h, c, Query{Service: "pick", Prepared: true})
	eventually(t, patience, "a query that is not there is an error, not an empty service", func() bool {
		u := absent.last()
		return u.Stale || absent.count() == 0
	})
	put(agent, "a", 81)
	put(agent, "b", 82)
	put(agent, "c", 83)
	eventually(t, patience, "all pass", warned.fresh("[::1]:81", "[::1]:82", "[::1]:83"))
	if w := weights(warned); w["[::1]:81"] != 5 {
		t.Errorf("passing: %v", w)
	}
	agent.Put("/v1/agent/check/warn/check-a", nil, nil)
	agent.Put("/v1/agent/check/fail/check-b", nil, nil)
	eventually(t, patience, "a warning instance is left out", strict.fresh("[::1]:83"))
	eventually(t, patience, "a warning instance has its warning weight", func() bool {
		w := weights(warned)
		return len(w) == 2 && w["[::1]:81"] == 1 && w["[::1]:83"] == 5
	})
	if _, _, err := c.api.PreparedQuery().Create(&api.PreparedQueryDefinition{Name: "pick",
		Service: api.ServiceQuery{Service: "orders", OnlyPassing: true}}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the prepared query is answered", absent.fresh("[::1]:83"))
}

func TestAPreparedQueryThatIsMissingIsNoEmptyService(t *testing.T) {
	t.Parallel()
	agent := kit.StartConsul(t)
	_, err := client(t, agent).prepared(t.Context(), Query{Service: "nope", Prepared: true})
	if err == nil || !strings.Contains(err.Error(), "no prepared query") {
		t.Errorf("%v", err)
	}
}

// mute is a source that never answers.
type mute struct{}

func (mute) Name() string { return "mute" }

func (mute) Watch(ctx context.Context, _ Query, _ func(Update)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestNobodyWaitsForASpare(t *testing.T) {
	h := newTestHub(t, HubConfig{})
	ready := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return h.Ready(ctx)
	}
	spare, err := h.SubscribeSpare(mute{}, Query{Service: "a"}, func(Update) {})
	if err != nil {
		t.Fatal(err)
	}
	defer spare.Close()
	if err := ready(); err != nil {
		t.Errorf("waited for a spare: %v", err)
	}
	needed, err := h.Subscribe(mute{}, Query{Service: "a"}, func(Update) {})
	if err != nil {
		t.Fatal(err)
	}
	defer needed.Close()
	if err := ready(); err == nil {
		t.Error("did not wait for what is needed, because it is also a spare")
	}
}
