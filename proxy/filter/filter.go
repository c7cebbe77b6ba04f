package filter

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/store"
)

// Verdict is what a filter says of a request. The zero Verdict lets it pass.
type Verdict struct {
	answered bool
	fault    *exchange.Fault
}

// Next lets the request pass on.
var Next = Verdict{}

// Answered says that the filter has filled x.Response: nothing is forwarded.
var Answered = Verdict{answered: true}

// Refuse ends the exchange with a fault.
func Refuse(f *exchange.Fault) Verdict { return Verdict{fault: f} }

// Answered reports whether the filter has filled the response itself.
func (v Verdict) Answered() bool { return v.answered }

// Fault returns the refusal, or nil.
func (v Verdict) Fault() *exchange.Fault { return v.fault }

// A filter implements one or more of the following; Instance binds them.
type (
	// RequestFilter sees the request before it is forwarded, in declared order.
	RequestFilter interface {
		OnRequest(x *exchange.Exchange) Verdict
	}
	// ResponseFilter sees the answer in reverse order, also one that a filter
	// or a fault made. One that cannot let the answer pass sets x.Fault, which
	// becomes the answer that the filters before it see.
	ResponseFilter interface {
		OnResponse(x *exchange.Exchange)
	}
	// FaultFilter may supply an answer in place of a fault: it fills x.Response
	// and reports true.
	FaultFilter interface {
		OnFault(x *exchange.Exchange, f *exchange.Fault) bool
	}
	// DoneFilter is told exactly once per exchange whose OnRequest it saw that
	// the exchange is over, on every outcome.
	DoneFilter interface {
		Done(x *exchange.Exchange)
	}
	// PreflightFilter answers every CORS preflight that reaches it, so that a
	// route need not list OPTIONS for it.
	PreflightFilter interface {
		AnswersPreflight()
	}
	// ParamFilter names parameters of the route's match without which it refuses
	// every request: a route that does not have them is wrong.
	ParamFilter interface {
		PathParams() []string
	}
	// Explainer describes its own settings in one line, for explain.
	Explainer interface {
		Explain() string
	}
	// Accounter says in one line, for explain, what it found in x that its
	// verdict rests on. It is asked right after OnRequest, in the same slot, and
	// repeats no credential. A filter without it is explained by its verdict and
	// by what it has changed.
	Accounter interface {
		Account(x *exchange.Exchange) string
	}
)

// Instance is a built filter, its methods looked up once.
type Instance struct {
	Kind     string
	Pos      string // file:line of its config
	Policy   string // the named chain it comes from, "" when the route's own
	Filter   any
	Request  RequestFilter
	Response ResponseFilter
	Fault    FaultFilter
	Done     DoneFilter
}

// Bind makes an Instance of f, which must implement at least one method.
func Bind(kind, pos string, f any) (Instance, error) {
	in := Instance{Kind: kind, Pos: pos, Filter: f}
	in.Request, _ = f.(RequestFilter)
	in.Response, _ = f.(ResponseFilter)
	in.Fault, _ = f.(FaultFilter)
	in.Done, _ = f.(DoneFilter)
	if in.Request == nil && in.Response == nil && in.Fault == nil {
		return in, fmt.Errorf("filter %s: %T implements no filter method", kind, f)
	}
	return in, nil
}

// Section is a piece of configuration that knows where it stands.
type Section interface {
	// Decode fills the struct that into points to, strictly: unknown keys,
	// wrong types and broken constraints are errors with their line.
	Decode(into any) error
	// Pos says where the value at path (as "keys[0].file") stands, as
	// file:line; the section itself for "".
	Pos(path string) string
}

// Env is what a filter may use while it is built.
type Env struct {
	Store     *store.Lease // what outlives the table
	Log       *slog.Logger
	Route     string     // the route it is built for, "" for a filter that runs on all
	Consumers []Consumer // sorted by name; one list for all filters of a table
	Registry  *Registry  // builds the filters that a filter holds; set by Build

	// Redis leases a connection of the section redis by its name. Nil where
	// there is no such section.
	Redis func(name string) (*store.Redis, error)
}

// Kind is an entry of the Registry: a filter's name, its config and its builder.
type Kind struct {
	Name   string
	Doc    string     // one sentence for the reference
	Config func() any // a new zero config: pointer to a struct with yaml, doc, default … tags
	Build  func(cfg any, env *Env) (any, error)
}

// Define makes a Kind from a typed builder.
func Define[C any](name, doc string, build func(*C, *Env) (any, error)) Kind {
	return Kind{
		Name:   name,
		Doc:    doc,
		Config: func() any { return new(C) },
		Build:  func(cfg any, env *Env) (any, error) { return build(cfg.(*C), env) },
	}
}

// ConfigError is a builder's complaint about one key of its section. Path is
// relative to the section, as "keys[0].file".
type ConfigError struct {
	Path string
	Msg  string
}

func (e *ConfigError) Error() string {
	if e.Path == "" {
		return e.Msg
	}
	return e.Path + ": " + e.Msg
}

// Errorf returns a ConfigError. The message says what was found and what is
// allowed.
func Errorf(path, format string, args ...any) error {
	return &ConfigError{path, fmt.Sprintf(format, args...)}
}

// Registry is an explicit list of filter kinds.
type Registry struct{ kinds []Kind }

// NewRegistry lists kinds; two of one name are a programmer's error.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: kinds}
	for i, k := range kinds {
		if slices.ContainsFunc(kinds[:i], func(o Kind) bool { return o.Name == k.Name }) {
			return nil, fmt.Errorf("filter: %s is registered twice", k.Name)
		}
	}
	return r, nil
}

// Kinds lists what is registered, in order.
func (r *Registry) Kinds() []Kind { return r.kinds }

// Build decodes sec as kind's config and builds the filter. Errors carry their
// position.
func (r *Registry) Build(kind string, sec Section, env *Env) (Instance, error) {
	i := slices.IndexFunc(r.kinds, func(k Kind) bool { return k.Name == kind })
	if i < 0 {
		return Instance{}, fmt.Errorf("%s: unknown filter %q, known are %v", sec.Pos(""), kind, r.names())
	}
	k := r.kinds[i]
	cfg := k.Config()
	if err := sec.Decode(cfg); err != nil {
		return Instance{}, err
	}
	inner := *env
	inner.Registry = r
	f, err := k.Build(cfg, &inner)
	if err != nil {
		if placed := new(placedError); errors.As(err, &placed) {
			return Instance{}, err // of a filter within, which says where it stands
		}
		var ce *ConfigError
		if errors.As(err, &ce) {
			return Instance{}, fmt.Errorf("%s: %s: %w", sec.Pos(ce.Path), kind, err)
		}
		return Instance{}, fmt.Errorf("%s: %s: %w", sec.Pos(""), kind, err)
	}
	return Bind(kind, sec.Pos(""), f)
}

func (r *Registry) names() []string {
	names := make([]string, len(r.kinds))
	for i, k := range r.kinds {
		names[i] = k.Name
	}
	return names
}
