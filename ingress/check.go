package ingress

import (
	"fmt"
	"log/slog"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
	"lintel.dev/lintel/proxy/route"
	"lintel.dev/lintel/proxy/store"
)

// Check compiles a snapshot without identity, discovery or listeners: what
// validate and explain look at. Release the table when done.
func Check(s *config.Snapshot) (*route.Table, error) {
	if len(s.Listeners) == 0 {
		return nil, fmt.Errorf("%s: no listeners: add at least one under listeners", s.Pos(""))
	}
	registry, err := compose.Registry()
	if err != nil {
		return nil, err
	}
	id, err := compose.OfflineIdentity(s.Identity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Pos("identity"), err)
	}
	c := &compiler{registry: registry, stores: store.NewSet(), log: slog.New(slog.DiscardHandler), redis: &compose.Redis{Offline: true},
		clusters: &compose.Clusters{ID: id, Feed: compose.OfflineFeed(s.Discovery)}, sender: &compose.Sender{ID: id}}
	return c.compile(s)
}
