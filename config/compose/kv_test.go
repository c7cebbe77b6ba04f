package compose

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/discovery"
)

func newKV(dir string) *KV {
	return &KV{prefix: "p/", dir: dir, log: slog.New(slog.DiscardHandler), moved: make(chan struct{}, 1), first: make(chan struct{}), stop: func() {}}
}

func state(index uint64, pairs ...string) discovery.KV {
	kv := discovery.KV{Prefix: "p/", Index: index, Pairs: []discovery.KVPair{}}
	for i := 0; i < len(pairs); i += 2 {
		kv.Pairs = append(kv.Pairs, discovery.KVPair{Key: pairs[i], Value: pairs[i+1]})
	}
	return kv
}

// follow runs k and takes what it finds, as a reload does.
func follow(t *testing.T, k *KV) (changes chan int) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	changes = make(chan int, 100)
	go func() {
		defer close(ended)
		k.Run(ctx, func() {
			list, err := k.Take()
			if err == nil {
				k.Taken()
			}
			changes <- len(list)
		})
	}()
	t.Cleanup(func() { stop(); <-ended })
	return changes
}

func TestKeysThatChangeTogetherAreTakenTogether(t *testing.T) {
	t.Parallel()
	k := newKV("")
	changes := follow(t, k)
	for i := range uint64(20) {
		k.update(state(i, "p/a", strings.Repeat("a", int(i)), "p/b", ""))
	}
	if n := <-changes; n != 2 {
		t.Errorf("%d snippets", n)
	}
	if st := k.Status(); st.Index != 19 {
		t.Errorf("taken in the middle: %+v", st)
	}
	// The same again, of another index: nothing to reload.
	k.update(state(30, "p/a", strings.Repeat("a", 19), "p/b", ""))
	k.update(state(31, "p/a", "other", "p/b", ""))
	<-changes
	k.update(state(40, "p/a", "other", "p/b", ""))
	for end := time.Now().Add(30 * time.Second); k.Status().Index != 40; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v", k.Status())
		}
	}
	if len(changes) > 0 {
		t.Error("reloaded for the same text")
	}
}

func TestAChangeThatNeverRestsIsTakenAllTheSame(t *testing.T) {
	t.Parallel()
	k := newKV("")
	changes := follow(t, k)
	end := time.Now().Add(30 * time.Second)
	for i := uint64(0); time.Now().Before(end); i++ {
		k.update(state(i, "p/a", time.Now().String()))
		select {
		case <-changes:
			return
		case <-time.After(kvQuiet / 10):
		}
	}
	t.Error("it waits for ever")
}

func TestWhatIsLastGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := newKV(dir)
	k.update(state(1, "p/a", "good"))
	if _, err := k.Take(); err != nil {
		t.Fatal(err)
	}
	k.Taken()
	k.update(state(2, "p/a", "bad"))
	if _, err := k.Take(); err != nil {
		t.Fatal(err)
	}
	// Not taken: what was good stays in force, and is told apart.
	if st := k.Status(); st.Index != 1 || st.Newest == "" {
		t.Errorf("%+v", st)
	}
	if c := k.checks()[0]; c.OK || !strings.Contains(c.Detail, "is not valid") {
		t.Errorf("%+v", c)
	}
	k.update(state(3))
	if _, err := k.Take(); !errors.Is(err, errEmptied) {
		t.Errorf("all keys gone: %v", err)
	}
	kept, ok, err := discovery.LoadKV(dir, "p/")
	if err != nil || !ok || kept.Index != 1 {
		t.Fatalf("on disk: %+v %v %v", kept, ok, err)
	}
	// Another process begins where Consul says what is not valid.
	k = newKV(dir)
	k.kept = &kept
	k.update(state(2, "p/a", "bad"))
	if list, err := k.Take(); err != nil || list[0].Text != "bad" {
		t.Errorf("%+v %v", list, err)
	}
	if list, ok := k.Fallback(); !ok || list[0] != (config.Snippet{Name: "consul:p/a", Text: "good"}) {
		t.Errorf("%+v %v", list, ok)
	}
	k.Taken()
	if st := k.Status(); !st.FromDisk || st.Newest == "" {
		t.Errorf("%+v", st)
	}
	// Or where Consul does not answer at all.
	k = newKV(dir)
	k.kept, k.asked = &kept, errors.New("away")
	if err := k.Ready(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
	if list, err := k.Take(); err != nil || list[0].Text != "good" {
		t.Errorf("%+v %v", list, err)
	}
	k = newKV("")
	k.asked = errors.New("away")
	if err := k.Ready(t.Context(), time.Millisecond); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("with nothing at all: %v", err)
	}
}

func TestAKeyThatCouldFakeALogLineIsQuoted(t *testing.T) {
	kv := state(1, "p/a\nconsul:p/b", "x")
	if got := snippets(&kv)[0].Name; got != `"consul:p/a\nconsul:p/b"` {
		t.Error(got)
	}
}
