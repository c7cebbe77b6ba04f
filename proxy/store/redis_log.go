package store

import (
	"context"

	"github.com/redis/rueidis"
)

// LogEntry is one entry of a stream in Redis, which keeps them in order.
type LogEntry struct {
	ID     string
	Fields map[string]string
}

// ReadLog returns the next entries of a stream after the one with the ID after,
// from the first when that is empty: at most count.
func (r *Redis) ReadLog(ctx context.Context, key, after string, count int64) ([]LogEntry, error) {
	from := "-"
	if after != "" {
		from = "(" + after
	}
	res, err := r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Xrange().Key(r.cfg.Prefix+key).Start(from).End("+").Count(count).Build())
	})
	if err != nil {
		return nil, err
	}
	found, err := res.AsXRange()
	if err != nil {
		return nil, err
	}
	entries := make([]LogEntry, len(found))
	for i, e := range found {
		entries[i] = LogEntry{e.ID, e.FieldValues}
	}
	return entries, nil
}
