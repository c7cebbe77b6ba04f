package store

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Ledger is a list of notes in Redis that several processes write and all read
// to its end. A note that is written again moves to the end. The oldest go when
// there are too many, so it is one key of bounded size.
type Ledger struct {
	redis *Redis
	key   string
}

// LedgerKeep is how many notes are kept.
const LedgerKeep = 16384

const (
	ledgerPage  = 1000
	ledgerLasts = 30 * 24 * time.Hour // unread
)

// Note is one of a Ledger.
type Note struct {
	Text string
	Seq  int64 // no two have the same, and later ones have more
}

// Pages are what a Ledger says after some number.
type Pages struct {
	Begun int64 // changes when Redis lost the ledger
	Floor int64 // of notes up to here some are gone
	Last  int64 // the number of the last note there is
	Read  int64 // read from here next time
	Notes []Note
}

// NewLedger names the ledger at key.
func NewLedger(r *Redis, key string) *Ledger { return &Ledger{r, key} }

//go:embed ledger.lua
var ledgerLua string

var ledgerScript = NewScript(ledgerLua)

// Exchange adds notes and reads on from after a number, in one round trip. When
// it fails the notes may have been written all the same.
func (l *Ledger) Exchange(ctx context.Context, after int64, notes ...string) (p Pages, err error) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	args := append([]string{number(after), number(ledgerPage), number(LedgerKeep), number(ledgerLasts.Milliseconds())}, notes...)
	said, err := l.redis.runText(ctx, ledgerScript, l.key, args...)
	if err != nil {
		return p, err
	}
	if len(said) < 3 || len(said)%2 == 0 {
		return p, fmt.Errorf("store: redis: a ledger of %d parts", len(said))
	}
	read := func(s string) (n int64) {
		if n, e := strconv.ParseInt(s, 10, 64); e == nil && n > 0 {
			return n
		}
		err = fmt.Errorf("store: redis: %q is no number of a ledger", s)
		return 0
	}
	p = Pages{Begun: read(said[0]), Floor: read(said[1]), Last: read(said[2])}
	p.Read = p.Last
	for i := 3; i < len(said); i += 2 {
		n := Note{said[i], read(said[i+1])}
		if len(said) == 3+2*ledgerPage {
			p.Read = n.Seq // there may be more
		}
		if n.Text != "B" && n.Text != "F" {
			p.Notes = append(p.Notes, n)
		}
	}
	return p, err
}

// runText runs a script on one key and returns the strings it answers.
func (r *Redis) runText(ctx context.Context, s *Script, key string, args ...string) ([]string, error) {
	res, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return s.lua.Exec(ctx, c, []string{r.cfg.Prefix + key}, args)
	})
	if err != nil {
		return nil, err
	}
	return res.AsStrSlice()
}

// GetUpTo returns at most so many bytes of the value of key, nil when there is
// none: whatever else may have been put there costs no more than that.
func (r *Redis) GetUpTo(ctx context.Context, key string, most int64) ([]byte, error) {
	res, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Getrange().Key(r.cfg.Prefix+key).Start(0).End(most-1).Build())
	})
	if err != nil {
		return nil, err
	}
	b, err := res.AsBytes()
	if len(b) == 0 {
		return nil, err
	}
	return b, err
}
