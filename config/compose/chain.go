package compose

import (
	"errors"
	"fmt"

	"lintel.dev/lintel/proxy/filter"
)

// checkOrder refuses a chain in which a filter that decides who may have an
// answer stands behind one that gives answers again: what the cache keeps would
// go out without it. A filter says itself which of the two it is.
func checkOrder(chain []filter.Instance) error {
	var errs []error
	replayer := -1
	for i := range chain {
		in := &chain[i]
		if _, ok := in.Filter.(filter.Replayer); ok && replayer < 0 {
			replayer = i
		}
		if _, ok := in.Filter.(filter.Guard); ok && replayer >= 0 {
			first := &chain[replayer]
			errs = append(errs, fmt.Errorf("%s: %s stands behind %s (%s), whose kept answers would go out without it: put %s before %s",
				in.Pos, in.Kind, first.Kind, first.Pos, in.Kind, first.Kind))
		}
	}
	return errors.Join(errs...)
}
