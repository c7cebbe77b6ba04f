package faultinjection

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/ipfilter"
)

// The request fields by which a fault is asked for, and the answer's field that
// owns up to one.
const (
	AskDelay = "X-Fault-Delay"
	AskAbort = "X-Fault-Abort"
	AskKey   = "X-Fault-Key"
	Told     = "X-Lintel-Fault"
)

// Filter injects faults.
type Filter struct {
	cfg    Config
	from   *ipfilter.Table
	digest [sha256.Size]byte
	counts *Counts
	about  string

	delays, aborts turns
}

// turns gives a share of all requests their turn, evenly spread and exact, so
// that a test knows how many to expect.
type turns struct{ n atomic.Uint64 }

func (t *turns) next(share float64) bool {
	n := t.n.Add(1)
	return uint64(float64(n)*share) != uint64(float64(n-1)*share)
}

// plan is what is to happen to one request.
type plan struct {
	delay  time.Duration
	status int
	grpc   int
}

// OnRequest delays and aborts.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	p := f.plan(x)
	if x.Shadow {
		if p.status == 0 && f.cfg.Abort != nil && f.cfg.Abort.Share > 0 && f.applies(x) {
			x.NotAsked("whose turn it is")
		}
	} else if p.delay > 0 && f.enter() {
		err := x.Sleep(p.delay)
		f.counts.active.Add(-1)
		if err != nil {
			return filter.Refuse(&exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone", Title: "Client went away", Err: err})
		}
		f.counts.Delays.Add(1)
		keep(x, p)
	} else {
		p.delay = 0
	}
	if p.status == 0 {
		return filter.Next
	}
	if !x.Shadow {
		f.counts.Aborts.Add(1)
		keep(x, p)
	}
	return filter.Refuse(&exchange.Fault{Source: exchange.FromPolicy, Status: p.status, Code: "fault-injected",
		Title: "Failed on purpose", Detail: "the filter fault_injection of this route is on"})
}

// keep allocates only for a request that something happens to.
func keep(x *exchange.Exchange, p plan) { x.Keep(&p) }

func (f *Filter) enter() bool {
	if f.counts.active.Add(1) > int64(f.cfg.MaxActive) {
		f.counts.active.Add(-1)
		return false
	}
	return true
}

func (f *Filter) applies(x *exchange.Exchange) bool {
	return len(f.cfg.Methods) == 0 || slices.Contains(f.cfg.Methods, x.Request.Method)
}

func (f *Filter) plan(x *exchange.Exchange) (p plan) {
	if f.asked(x, &p) {
		return p
	}
	if !f.applies(x) {
		return p
	}
	// Explain takes no request's turn.
	if d := f.cfg.Delay; d != nil && !x.Shadow && f.delays.next(d.Share) {
		p.delay = d.Time
	}
	if a := f.cfg.Abort; a != nil && (a.Share == 1 || !x.Shadow && f.aborts.next(a.Share)) {
		p.status, p.grpc = a.Status, a.GRPC
	}
	return p
}

// asked reads what the request asks for, which goes no further, and reports
// whether it asks and may.
func (f *Filter) asked(x *exchange.Exchange, p *plan) bool {
	a := f.cfg.Asked
	if a == nil {
		return false
	}
	h := &x.Request.Header
	delay, abort := h.Get(AskDelay), h.Get(AskAbort)
	may := f.from.Has(x.ClientIP)
	if a.Key != "" && h.Count(AskKey) == 1 {
		sum := sha256.Sum256([]byte(h.Get(AskKey)))
		may = may || subtle.ConstantTimeCompare(sum[:], f.digest[:]) == 1
	}
	defer func() {
		for _, name := range [...]string{AskDelay, AskAbort, AskKey} {
			h.Del(name)
		}
	}()
	if !may || delay == "" && abort == "" {
		return false
	}
	if d, err := time.ParseDuration(delay); err == nil && d > 0 {
		p.delay = min(d, a.MaxDelay)
	}
	if n, err := strconv.Atoi(abort); err == nil && n >= http.StatusBadRequest && n < 600 {
		p.status = n
	}
	return p.delay > 0 || p.status > 0
}

// OnResponse owns up.
func (f *Filter) OnResponse(x *exchange.Exchange) {
	p, ok := x.Kept().(*plan)
	if !ok {
		return
	}
	told := ""
	if p.delay > 0 {
		told = "delay=" + p.delay.String()
	}
	if p.status > 0 {
		if told != "" {
			told += ", "
		}
		told += "abort=" + strconv.Itoa(p.status)
		if p.grpc > 0 && x.IsGRPC() && x.Fault != nil {
			x.Response.Header.Set("Grpc-Status", strconv.Itoa(p.grpc))
		}
	}
	x.Response.Header.Set(Told, told)
}

// AccountAnswer implements filter.AnswerAccounter. Whose turn it is is not asked.
func (f *Filter) AccountAnswer(*exchange.Exchange) string {
	return Told + " tells what was done on purpose, if anything was"
}
