package cluster

import (
	"io"
	"sync/atomic"

	"lintel.dev/lintel/proxy/exchange"
)

// kept is a request body of unknown length that is sent on as it comes, and
// remembered up to a limit: a gRPC call, whose one message is small mostly, and
// which must not be awaited whole, since it may be a stream.
type kept struct {
	io.ReadCloser
	limit int64
	bytes []byte
	lost  bool
	ended atomic.Bool // bytes is the whole body, and nobody reads any more
}

func (k *kept) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	if !k.lost && int64(len(k.bytes)+n) > k.limit {
		k.lost, k.bytes = true, nil
	}
	if !k.lost && n > 0 {
		k.bytes = append(k.bytes, p[:n]...)
	}
	if err == io.EOF && !k.lost {
		k.ended.Store(true)
	}
	return n, err
}

func (k *kept) whole() bool { return k != nil && k.ended.Load() }

// Ready and Whole pass on what exchange.Ready and exchange.Whole ask.
func (k *kept) Ready() bool { return exchange.Ready(k.ReadCloser) }

// Whole is Ready's twin.
func (k *kept) Whole() bool { return exchange.Whole(k.ReadCloser) }
