package compose

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/jwt"
	"lintel.dev/lintel/proxy/filter/lambda"
	"lintel.dev/lintel/proxy/store"
)

// guards are the filters that decide who may have an answer, with a section each.
var guards = map[string]string{
	"jwt":               "", // jwt and lambda_authorizer need more than a line
	"api_key":           `{}`,
	"client_cert":       `{}`,
	"any_of":            `[api_key]`,
	"all_of":            `[api_key]`,
	"acl":               `{roles: [admin]}`,
	"ip_filter":         `{deny: [10.0.0.0/8]}`,
	"ext_authz":         `{url: "http://127.0.0.1:1/check", on_error: deny}`,
	"lambda_authorizer": "",
	"authorize":         `{allow: "true"}`,
}

// others may stand behind a cache: they limit what a service is asked, check the
// form of requests or change them.
var others = []string{"anonymous", "cache", "compress", "concurrency", "cors", "error_pages", "fault_injection", "headers", "json_body", "maintenance",
	"openapi", "rate_limit", "request_limits", "security_headers", "transform"}

func chainOf(t *testing.T, filters string) error {
	t.Helper()
	s, err := config.Parse("lintel.yaml", []byte("version: 1\npolicies:\n  p: ["+filters+"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	set := store.NewSet()
	lease := set.Lease()
	defer lease.Release()
	_, err = Filters(reg, s.Policies["p"], Env(lease, slog.New(slog.DiscardHandler), "r", nil))
	return err
}

// Every filter says whether it guards answers, or is listed as one that does
// not: a new one cannot be forgotten.
func TestEveryFilterIsAGuardOrIsKnownNotToBe(t *testing.T) {
	reg, err := Registry()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range reg.Kinds() {
		if _, guard := guards[k.Name]; guard == slices.Contains(others, k.Name) {
			t.Errorf("%s: is it a filter.Guard? Add it to one of the two lists", k.Name)
		}
	}
	for kind, f := range map[string]any{"jwt": &jwt.Filter{}, "lambda_authorizer": &lambda.Filter{}} {
		if _, ok := f.(filter.Guard); !ok {
			t.Errorf("%s is no guard", kind)
		}
	}
	if len(guards)+len(others) != len(reg.Kinds()) {
		t.Errorf("%d filters, %d guards and %d others", len(reg.Kinds()), len(guards), len(others))
	}
}

func TestAGuardBehindACacheIsRefused(t *testing.T) {
	for kind, section := range guards {
		if section == "" {
			continue
		}
		err := chainOf(t, "cache, {"+kind+": "+section+"}")
		if err == nil || !strings.Contains(err.Error(), "lintel.yaml:3: "+kind+" stands behind cache (lintel.yaml:3)") {
			t.Errorf("cache, %s: %v", kind, err)
		}
		if err := chainOf(t, "{"+kind+": "+section+"}, cache"); err != nil {
			t.Errorf("%s, cache: %v", kind, err)
		}
	}
}

// The property, not the name, is what counts.
type guard struct{ filter.RequestFilter }

func (guard) GuardsAnswers() {}

type replayer struct{ filter.RequestFilter }

func (replayer) ReplaysAnswers() {}

func TestOrderIsJudgedByWhatFiltersSayOfThemselves(t *testing.T) {
	in := func(f any) filter.Instance { return filter.Instance{Kind: "k", Pos: "f:1", Filter: f} }
	if err := checkOrder([]filter.Instance{in(guard{}), in(replayer{}), in(struct{}{})}); err != nil {
		t.Error(err)
	}
	err := checkOrder([]filter.Instance{in(replayer{}), in(guard{}), in(replayer{}), in(guard{})})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("both are told of: %v", err)
	}
}
