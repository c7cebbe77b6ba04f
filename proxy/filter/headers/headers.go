package headers

import (
	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/filter"
)

// Config is what is changed in each direction.
type Config struct {
	Request  Change `yaml:"request" doc:"changes to what the service receives"`
	Response Change `yaml:"response" doc:"changes to what the client receives"`
}

// Kind is the registry entry.
func Kind() filter.Kind {
	return filter.Define("headers", "Adds, sets, renames and removes header fields of requests and answers.", build)
}

// Filter changes header fields.
type Filter struct{ request, response *Rules }

func build(c *Config, _ *filter.Env) (any, error) {
	request, err := Compile("request", &c.Request, true)
	if err != nil {
		return nil, err
	}
	response, err := Compile("response", &c.Response, false)
	if err != nil {
		return nil, err
	}
	return &Filter{request, response}, nil
}

// OnRequest changes what the service receives.
func (f *Filter) OnRequest(x *exchange.Exchange) filter.Verdict {
	f.request.Apply(x, &x.Request.Header)
	return filter.Next
}

// OnResponse changes what the client receives.
func (f *Filter) OnResponse(x *exchange.Exchange) { f.response.Apply(x, &x.Response.Header) }

// Explain implements filter.Explainer.
func (f *Filter) Explain() string {
	return "request: " + f.request.Explain() + "; response: " + f.response.Explain()
}
