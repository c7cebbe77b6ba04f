package txntoken

import (
	"reflect"
	"strings"
	"testing"
)

func TestMemoryFindsByStateAndToken(t *testing.T) {
	m := NewMemory(10)
	tr := &txn{Token: "a.b.c", Chain: []string{ingressID}}
	id, forget := m.Remember(tr)
	if !isID(id) || tr.Memory != id {
		t.Fatalf("id %q, Memory %q", id, tr.Memory)
	}
	if m.ByState("x=1, lintel="+id+",y=2") != tr || m.ByToken("a.b.c") != tr {
		t.Error("remembered and not found")
	}
	flipped := strings.Map(func(r rune) rune { return rune("123456789abcdef0"[strings.IndexRune("0123456789abcdef", r)]) }, id)
	for _, guess := range []string{
		"", "lintel=", "lintel=" + flipped, "lintel=" + id[:31], "lintel=" + id + "0", "lintel=" + strings.ToUpper(id) + " x",
		"lintel=" + id + ",lintel=" + id, "lintel=" + flipped + ",lintel=" + id, "other=" + id, "x@lintel=" + id, id,
	} {
		if m.ByState(guess) != nil {
			t.Errorf("found by %q", guess)
		}
	}
	for _, guess := range []string{"", "a.b.d", "a.b.c.", strings.Repeat("x", MaxTxnBytes+1)} {
		if m.ByToken(guess) != nil {
			t.Errorf("found by token %.10q", guess)
		}
	}
	forget()
	forget()
	if m.ByState("lintel="+id) != nil || m.ByToken("a.b.c") != nil || m.Len() != 0 || len(m.byToken) != 0 {
		t.Error("found after it was forgotten")
	}
}

func TestMemoryOfASharedTokenLastsAsLongAsOneOfThem(t *testing.T) {
	m := NewMemory(10)
	one := &txn{Token: "a.b.c", Chain: []string{ingressID}}
	two := &txn{Token: "a.b.c", Chain: []string{ingressID}}
	three := &txn{Token: "a.b.c", Chain: []string{ingressID}}
	_, f1 := m.Remember(one)
	id2, f2 := m.Remember(two)
	_, f3 := m.Remember(three)
	if m.ByToken("a.b.c") != three {
		t.Error("expected the latest")
	}
	f3()
	f1()
	if m.ByToken("a.b.c") != two || m.ByState("lintel="+id2) != two {
		t.Error("the one still in flight is not found")
	}
	f2()
	if m.ByToken("a.b.c") != nil || len(m.byToken) != 0 {
		t.Error("found after all are forgotten")
	}
}

func TestMemoryOfASharedTokenSaysNothingUntrueOfTheWay(t *testing.T) {
	m := NewMemory(10)
	through := &txn{Token: "a.b.c", Chain: []string{ingressID, ordersID}}
	direct := &txn{Token: "a.b.c", Chain: []string{ingressID, payID}}
	id, f1 := m.Remember(through)
	_, f2 := m.Remember(direct)
	if got := m.ByToken("a.b.c"); !reflect.DeepEqual(got.Chain, []string{ingressID}) {
		t.Errorf("chain %v claims what is not true of both", got.Chain)
	}
	if m.ByState("lintel="+id) != through || len(through.Chain) != 2 || len(direct.Chain) != 2 {
		t.Error("the tracestate names one of them exactly")
	}
	f1()
	f2()
	if _, f := m.Remember(through); m.ByToken("a.b.c") != through {
		t.Error("ambiguity outlived its exchanges")
	} else {
		f()
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := NewMemory(2)
	_, f1 := m.Remember(&txn{})
	_, f2 := m.Remember(&txn{})
	over := &txn{Token: "a.b.c", Memory: "old"}
	id, f3 := m.Remember(over)
	f3()
	if id != "" || over.Memory != "" || m.Refused() != 1 || m.Len() != 2 || m.ByToken("a.b.c") != nil {
		t.Errorf("id %q, refused %d, %d remembered", id, m.Refused(), m.Len())
	}
	f1()
	if id, f := m.Remember(over); id == "" {
		t.Error("there is room again")
	} else {
		f()
	}
	f2()
}

func TestTracestate(t *testing.T) {
	id := strings.Repeat("a", 32)
	for in, want := range map[string]string{
		"":                             "",
		"a=1":                          "a=1",
		"a=1, b=2":                     "a=1, b=2",
		"lintel=x":                     "",
		"lintel=x,a=1":                 "a=1",
		"a=1, lintel=x ,b=2,LINTEL=y,": "a=1,b=2",
		"a=1,lintel = x,lintel":        "a=1",
		"lintel2=x,x@lintel=1":         "lintel2=x,x@lintel=1",
	} {
		if got := StripState(in); got != want {
			t.Errorf("StripState(%q) is %q, expected %q", in, got, want)
		}
	}
	if got := AddState("a=1,lintel=old,b=2", id); got != "lintel="+id+",a=1,b=2" {
		t.Errorf("got %q", got)
	}
	var many []string
	for range 32 {
		many = append(many, "k=v")
	}
	if got := AddState(strings.Join(many, ","), id); strings.Count(got, ",") != 31 || FindState(got) != id {
		t.Errorf("32 members: %q", got)
	}
	long := "long=" + strings.Repeat("x", 200)
	short := "short=" + strings.Repeat("y", 100)
	if got := AddState(long+","+short+","+short+","+short+","+short, id); strings.Contains(got, "long") || strings.Count(got, "short") != 4 || len(got) > 512 {
		t.Errorf("long members go first: %q", got)
	}
}
