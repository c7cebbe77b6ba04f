package filter

import "lintel.dev/lintel/proxy/exchange"

// QueryHider is a filter that finds credentials in query parameters. What it
// names is taken off everything that is logged, and off Referer, before any
// filter runs: one before it may refuse the request.
type QueryHider interface {
	HidesQuery() []HiddenQuery
}

// HiddenQuery is a query parameter that carries credentials.
type HiddenQuery struct {
	Name string
	Hide func(x *exchange.Exchange) // takes it off x.Original and Referer
}
