package store

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Set holds values that tables share across reloads. A value is built when the
// first lease asks for its name and fingerprint and closed when the last lease
// that used it is released, so a reload that did not touch a limit or a cache
// finds it as it was.
type Set struct {
	mu    sync.Mutex
	items map[key]*item
}

type key struct{ name, fingerprint string }

type item struct {
	build sync.Once
	value any
	err   error
	ready bool // guarded by the set: value is there for All
	users int  // guarded by the set
}

// NewSet returns an empty set.
func NewSet() *Set { return &Set{items: map[key]*item{}} }

// Lease is one table's hold on values of a Set.
type Lease struct {
	set  *Set
	mu   sync.Mutex
	held map[key]*item
}

// Lease begins a hold. Release it when the table is gone.
func (s *Set) Lease() *Lease { return &Lease{set: s, held: map[key]*item{}} }

// Use returns the value of that name and fingerprint, building it if no table
// holds one. A changed fingerprint is a new value; the old one lives as long as
// its tables. Values that implement io.Closer are closed after their last use.
// build must not use the same lease; it may take its time, since only those who
// want the same value wait for it.
func Use[T any](l *Lease, name, fingerprint string, build func() (T, error)) (T, error) {
	k := key{name, fingerprint}
	l.mu.Lock()
	defer l.mu.Unlock()
	it, held := l.held[k]
	if !held {
		it = l.set.take(k)
	}
	it.build.Do(func() {
		it.err = fmt.Errorf("store: building %s panicked", name)
		var v T
		if v, it.err = build(); it.err == nil {
			it.value = v
		}
	})
	v, ok := it.value.(T)
	if it.err != nil || !ok {
		if !held {
			l.set.giveBack(k, it)
		}
		var zero T
		if it.err != nil {
			return zero, it.err
		}
		return zero, fmt.Errorf("store: %s is a %T to one user and a %T to another: two uses share a name", name, it.value, zero)
	}
	l.held[k] = it
	if !held {
		l.set.show(it)
	}
	return v, nil
}

// Named is a value of a Set and its name.
type Named[T any] struct {
	Name  string
	Value T
}

// All lists the values of one type that leases hold now, by name. During a
// reload two may have one name.
func All[T any](s *Set) []Named[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Named[T]
	for k, it := range s.items {
		if !it.ready {
			continue
		}
		if v, ok := it.value.(T); ok {
			out = append(out, Named[T]{k.name, v})
		}
	}
	slices.SortFunc(out, func(a, b Named[T]) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (s *Set) show(it *item) {
	s.mu.Lock()
	it.ready = true
	s.mu.Unlock()
}

// take counts one more user of the item, making it if need be.
func (s *Set) take(k key) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[k]
	if it == nil {
		it = &item{}
		s.items[k] = it
	}
	it.users++
	return it
}

// giveBack counts one user less and reports whether it was the last. What
// could not be built is forgotten at once, so that the next use tries again.
func (s *Set) giveBack(k key, it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.users--
	if s.items[k] == it && (it.users == 0 || it.err != nil) {
		delete(s.items, k)
	}
	return it.users == 0
}

// Release gives up the hold. It may be called more than once.
func (l *Lease) Release() {
	l.mu.Lock()
	held := l.held
	l.held = map[key]*item{}
	l.mu.Unlock()
	for k, it := range held {
		l.set.end(k, it)
	}
}

// Drop gives up the hold on one value, for a table that needs it no more.
func (l *Lease) Drop(name, fingerprint string) {
	k := key{name, fingerprint}
	l.mu.Lock()
	it, held := l.held[k]
	delete(l.held, k)
	l.mu.Unlock()
	if held {
		l.set.end(k, it)
	}
}

// end is one use less of a value, which is closed with its last.
func (s *Set) end(k key, it *item) {
	if !s.giveBack(k, it) {
		return
	}
	if c, ok := it.value.(io.Closer); ok {
		_ = c.Close()
	}
}
