package lambda

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ask"
	"lintel.dev/lintel/proxy/filter/firewall"
	"lintel.dev/lintel/proxy/store"
)

// Filter has a Lambda function decide.
type Filter struct {
	Config
	caller   *caller
	verdicts *store.Verdicts[*verdict]
	log      *slog.Logger
	route    string
	now      func() time.Time

	address    string // of the function's invocations
	arn        string // methodArn as far as it is the same for all
	sources    []source
	validation *regexp.Regexp
	made       *firewall.Set     // names of headers made of the context; nil when none
	consumers  map[string]string // known consumers, by name
	complained atomic.Int64      // when a failure was last logged, unix nanoseconds
}

// OnRequest lets pass what the function's answer allows.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	key, whole := f.identify(x)
	if !whole {
		return filter.Refuse(unknown("what identifies the caller is missing"))
	}
	if x.Shadow {
		x.NotAsked("the function")
		return filter.Next
	}
	arn := f.methodARN(x)
	v, known := (*verdict)(nil), false
	if *f.TTL > 0 {
		v, known = f.verdicts.Get(key, f.now())
	}
	if !known {
		var err error
		if v, err = f.consult(x, key, arn); err != nil {
			return filter.Refuse(f.failed(x, err))
		}
	}
	if f.Simple && !v.allowed || !f.Simple && !allows(v.policy, arn) {
		return filter.Refuse(&exchange.Fault{Source: exchange.FromPolicy, Status: http.StatusForbidden, Code: "authz-denied",
			Title: "Not authorized", Detail: "the authorizer does not allow this request"})
	}
	if f.made != nil {
		x.Removed += f.made.CleanRequest(x)
	}
	for _, h := range v.headers {
		x.Request.Header.Add(h.Name, h.Value)
	}
	if v.identity != nil {
		x.Identity = v.identity
	} else {
		x.Vouch(key)
		if len(f.sources) == 0 {
			x.Vouch(digest(v.headers))
		}
	}
	if v.consumer != "" {
		x.Consumer = v.consumer
	}
	return filter.Next
}

// identify hashes what answers are remembered by, and reports whether all of it
// is there. A policy is judged anew for every request, a simple answer cannot be:
// it counts for the route and method that it was given for.
func (f *Filter) identify(x *exchange.Exchange) (store.Question, bool) {
	var room [1024]byte
	key := room[:0]
	for _, s := range f.sources {
		value := f.value(x, s)
		if value == "" || f.validation != nil && !f.validation.MatchString(value) {
			return store.Question{}, false
		}
		key = appendPart(key, value)
	}
	if f.Simple {
		key = appendPart(appendPart(key, x.Route), x.Request.Method)
	}
	return sha256.Sum256(key), true
}

// digest of what the service is told, for callers that nothing else tells apart.
func digest(list []exchange.Field) [32]byte {
	var key []byte
	for _, h := range list {
		key = appendPart(appendPart(key, h.Name), h.Value)
	}
	return sha256.Sum256(key)
}

func appendPart(key []byte, s string) []byte {
	key = binary.BigEndian.AppendUint32(key, uint32(len(s)))
	return append(key, s...)
}

// consult invokes the function, or waits for who is about to have the same
// answer.
func (f *Filter) consult(x *exchange.Exchange, key store.Question, arn string) (v *verdict, err error) {
	identity := make([]string, len(f.sources))
	for i, s := range f.sources {
		identity[i] = strings.Clone(f.value(x, s))
	}
	event, err := f.event(x, arn, identity)
	if err != nil {
		return nil, fmt.Errorf("lambda_authorizer: %w", err)
	}
	err = x.Await(func(ctx context.Context) (err error) {
		if *f.TTL == 0 { // every request is a question of its own
			v, err = f.invoke(ctx, event)
			return err
		}
		v, err = f.verdicts.Ask(ctx, key, func(ctx context.Context) (store.Reply[*verdict], error) {
			v, err := f.invoke(ctx, event)
			return store.Reply[*verdict]{Value: v, Keep: *f.TTL}, err
		})
		return err
	})
	return v, err
}

func (f *Filter) invoke(ctx context.Context, event []byte) (*verdict, error) {
	q := &ask.Question{Method: http.MethodPost, URL: f.address, Body: event, Header: []exchange.Field{{Name: "Content-Type", Value: "application/json"}}}
	if f.caller.credentials != nil {
		q.Sign = f.sign
	}
	a, err := f.caller.Ask(ctx, q)
	if err != nil {
		return nil, err
	}
	return f.read(a)
}

// sign adds a signature by AWS's scheme, version 4. Getting credentials may ask
// somebody and wait.
func (f *Filter) sign(ctx context.Context, r *ask.Outgoing, body []byte) error {
	credentials, err := f.caller.credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("no AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "lambda", f.Region, f.now()); err != nil {
		return fmt.Errorf("the invocation cannot be signed: %w", err)
	}
	return nil
}

// unknown callers are asked to say who they are.
func unknown(detail string) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusUnauthorized, Code: "authz-unauthenticated",
		Title: "Not authenticated", Detail: detail, Header: []exchange.Field{{Name: "WWW-Authenticate", Value: "Bearer"}}}
}

// failed is what becomes of a request about which nothing is known: it is denied.
func (f *Filter) failed(x *exchange.Exchange, err error) *exchange.Fault {
	if errors.Is(err, errUnauthorized) {
		return unknown("the authorizer does not know the caller")
	}
	if x.Ended() == nil {
		f.complain(err)
	}
	var answer badAnswer
	if errors.As(err, &answer) {
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "authz-bad-answer",
			Title: "Cannot be authorized", Detail: "the authorizer failed", Err: err}
	}
	return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusServiceUnavailable, Code: "authz-unavailable",
		Title: "Cannot be authorized now", Detail: "the authorizer does not answer", Err: err}
}

// complain logs a failure, once a second at most: it may be every request's.
func (f *Filter) complain(err error) {
	now, last := f.now().UnixNano(), f.complained.Load()
	if now-last >= int64(time.Second) && f.complained.CompareAndSwap(last, now) {
		f.log.Warn("lambda_authorizer: the function cannot decide", "route", f.route, "function", f.Function, "error", err)
	}
}

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	s := fmt.Sprintf("invokes %s as %s (payload %s) at %s", f.Function, f.Type, f.Payload, strings.TrimSuffix(f.address, "/2015-03-31/functions/"+escape(f.Function)+"/invocations"))
	if len(f.Sources) > 0 {
		s += " for " + strings.Join(f.Sources, " ")
	}
	if f.caller.credentials == nil {
		s += ", unsigned"
	}
	if *f.TTL > 0 {
		s += fmt.Sprintf("; answers count for %v, %d kept", *f.TTL, f.verdicts.Len())
	}
	return s + "; methodArn " + f.arn + "METHOD/path"
}
