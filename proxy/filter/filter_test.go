package filter

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"lintel.dev/lintel/proxy/exchange"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type section struct{ err error }

func (s section) Decode(into any) error { return s.err }
func (s section) Pos(path string) string {
	return map[string]string{"": "f.yaml:1", "keys[0].file": "f.yaml:7"}[path]
}

type onlyResponse struct{}

func (onlyResponse) OnResponse(*exchange.Exchange) {}

type conf struct{ N int }

func TestBindFindsWhatAFilterImplements(t *testing.T) {
	in, err := Bind("k", "p", onlyResponse{})
	if err != nil || in.Response == nil || in.Request != nil || in.Fault != nil || in.Done != nil || in.Kind != "k" || in.Pos != "p" {
		t.Error(in, err)
	}
	if _, err := Bind("k", "p", 7); err == nil || !strings.Contains(err.Error(), "int") {
		t.Error(err)
	}
}

func TestVerdicts(t *testing.T) {
	f := &exchange.Fault{}
	if Next.Answered() || Next.Fault() != nil || !Answered.Answered() || Refuse(f).Fault() != f || Refuse(f).Answered() {
		t.Error("verdicts are mixed up")
	}
}

func TestRegistryBuildsAndPlacesErrors(t *testing.T) {
	var fail error
	kind := Define("k", "doc", func(c *conf, _ *Env) (any, error) { return onlyResponse{}, fail })
	r, err := NewRegistry(kind)
	if err != nil || len(r.Kinds()) != 1 {
		t.Fatal(err)
	}
	if _, err := NewRegistry(kind, kind); err == nil {
		t.Error("twice")
	}
	if in, err := r.Build("k", section{}, &Env{}); err != nil || in.Pos != "f.yaml:1" || in.Response == nil {
		t.Error(in, err)
	}
	if _, err := r.Build("nope", section{}, &Env{}); err == nil || err.Error() != `f.yaml:1: unknown filter "nope", known are [k]` {
		t.Error(err)
	}
	bad := errors.New("line 3")
	if _, err := r.Build("k", section{bad}, &Env{}); err != bad {
		t.Error(err)
	}
	fail = Errorf("keys[0].file", "found %d", 3)
	if _, err := r.Build("k", section{}, &Env{}); err == nil || err.Error() != "f.yaml:7: k: keys[0].file: found 3" {
		t.Error(err)
	}
	fail = errors.New("plain")
	if _, err := r.Build("k", section{}, &Env{}); err == nil || err.Error() != "f.yaml:1: k: plain" {
		t.Error(err)
	}
}

func TestAFilterWithinAnotherIsBuiltByTheSameRegistry(t *testing.T) {
	var fail error
	inner := Define("inner", "doc", func(*conf, *Env) (any, error) { return onlyResponse{}, fail })
	outer := Define("outer", "doc", func(_ *conf, env *Env) (any, error) {
		var n Nested
		n.SetFilter("inner", section{})
		if kind, s := n.Filter(); kind != "inner" || s != (section{}) {
			t.Error(kind, s)
		}
		_, err := n.Build(env)
		return onlyResponse{}, err
	})
	r, err := NewRegistry(outer, inner)
	if err != nil {
		t.Fatal(err)
	}
	env := &Env{}
	if _, err := r.Build("outer", section{}, env); err != nil || env.Registry != nil {
		t.Error(err)
	}
	fail = Errorf("keys[0].file", "found %d", 3)
	if _, err := r.Build("outer", section{}, env); err == nil || err.Error() != "f.yaml:7: inner: keys[0].file: found 3" {
		t.Error("the error is not placed once, where it belongs:", err)
	}
}
