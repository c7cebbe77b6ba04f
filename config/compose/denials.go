package compose

import (
	"context"
	"errors"

	"lintel.dev/lintel/admin"
	"lintel.dev/lintel/proxy/filter/jwt"
	"lintel.dev/lintel/proxy/store"
)

// Deny withdraws a token in every deny list in Redis that filters follow, and
// says in how many.
func Deny(stores *store.Set) func(context.Context, admin.Denial) (int, error) {
	return func(ctx context.Context, d admin.Denial) (int, error) {
		var errs []error
		n := 0
		for _, list := range store.All[*jwt.RedisDenials](stores) {
			if err := list.Value.Deny(ctx, d.Issuer, d.JTI, d.Until); err != nil {
				errs = append(errs, err)
				continue
			}
			n++
		}
		return n, errors.Join(errs...)
	}
}
