package store

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Hash is one hash in Redis, and locks beside it. It is one key, so that a
// cluster keeps it on one node and its fields can be listed.
type Hash struct {
	r   *Redis
	key string
}

// Hash returns the hash of that key. Its locks are keys that begin with it.
func (r *Redis) Hash(key string) *Hash { return &Hash{r, key} }

// Get returns the value of field.
func (h *Hash) Get(ctx context.Context, field string) (value []byte, found bool, err error) {
	res, err := h.r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hget().Key(h.r.cfg.Prefix+h.key).Field(field).Build())
	})
	if rueidis.IsRedisNil(err) {
		return nil, false, nil
	}
	if err == nil {
		value, err = res.AsBytes()
	}
	return value, err == nil, err
}

// Set keeps value in field.
func (h *Hash) Set(ctx context.Context, field string, value []byte) error {
	_, err := h.r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hset().Key(h.r.cfg.Prefix+h.key).FieldValue().FieldValue(field, rueidis.BinaryString(value)).Build())
	})
	return err
}

// Delete removes fields.
func (h *Hash) Delete(ctx context.Context, fields ...string) error {
	if len(fields) == 0 {
		return nil
	}
	_, err := h.r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hdel().Key(h.r.cfg.Prefix+h.key).Field(fields...).Build())
	})
	return err
}

// Fields lists the names of all fields.
func (h *Hash) Fields(ctx context.Context) ([]string, error) {
	res, err := h.r.do(ctx, func(ctx context.Context, c rueidis.Client) rueidis.RedisResult {
		return c.Do(ctx, c.B().Hkeys().Key(h.r.cfg.Prefix+h.key).Build())
	})
	if err != nil {
		return nil, err
	}
	return res.AsStrSlice()
}

// Both scripts may run twice for one call, and say the same again.
var (
	lockScript = NewScript(`local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1}`)
	unlockScript = NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {1}`)
)

// Lock takes a lock for ttl, or extends it when the token holds it; false when
// another token does.
func (h *Hash) Lock(ctx context.Context, name, token string, ttl time.Duration) (bool, error) {
	n, err := h.r.Run(ctx, lockScript, h.key+":lock:"+name, token, strconv.FormatInt(max(1, ttl.Milliseconds()), 10))
	return err == nil && len(n) == 1 && n[0] == 1, err
}

// Unlock frees a lock, unless another token holds it.
func (h *Hash) Unlock(ctx context.Context, name, token string) error {
	_, err := h.r.Run(ctx, unlockScript, h.key+":lock:"+name, token)
	return err
}
