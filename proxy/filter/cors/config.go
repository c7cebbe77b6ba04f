package cors

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"lintel.dev/lintel/proxy/filter"
	"lintel.dev/lintel/proxy/filter/content"
)

// Config is the cors section of a route.
type Config struct {
	Origins        []string      `yaml:"origins" required:"true" listify:"true" doc:"origins whose pages may call: https://app.example.com exactly; https://*.example.com for any name below it, not itself; http://localhost:* for any port; null for pages without one; * for everybody" example:"[https://app.example.com, \"https://*.example.com\"]"`
	Methods        []string      `yaml:"methods" listify:"true" default:"[GET, HEAD, POST, PUT, PATCH, DELETE]" doc:"methods that pages may use; * for any"`
	Headers        []string      `yaml:"headers" listify:"true" default:"[Authorization, Content-Type]" doc:"request headers that pages may send, besides those that always may; * for any"`
	Expose         []string      `yaml:"expose" listify:"true" doc:"answer headers that pages may read, besides those that always may; * for any, without credentials only"`
	Credentials    bool          `yaml:"credentials" doc:"pages may send cookies, and read the answer; never with origins: '*'"`
	MaxAge         time.Duration `yaml:"max_age" default:"10m" min:"0s" max:"24h" doc:"how long a browser need not ask again; browsers have bounds of their own"`
	PrivateNetwork bool          `yaml:"private_network" doc:"pages of public sites may call although the address is private (Access-Control-Allow-Private-Network)"`
	Refuse         bool          `yaml:"refuse" doc:"answer 403 to requests of other origins, not only to their preflights. Without, they reach the service, and it is the browser that keeps the answer from the page"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("cors", "lets pages of other origins call, and answers their preflights; stand it first, so that refusals of other filters can be read too", build)
}

// maxList bounds each of the lists.
const maxList = 1000

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{credentials: c.Credentials, private: c.PrivateNetwork, refuse: c.Refuse, exact: map[string]bool{}}
	if len(c.Origins) == 0 || len(c.Origins) > maxList {
		return nil, filter.Errorf("origins", "found %d, want 1 to %d", len(c.Origins), maxList)
	}
	for i, o := range c.Origins {
		path := fmt.Sprintf("origins[%d]", i)
		switch {
		case o == "*" && c.Credentials:
			return nil, filter.Errorf(path, "* with credentials would let every site act as its visitor: list the origins")
		case o == "*" && len(c.Origins) > 1:
			return nil, filter.Errorf(path, "* covers the others: give it alone, or list the origins without it")
		case o == "*":
			f.any = true
		case o == "null" && c.Credentials:
			return nil, filter.Errorf(path, "null with credentials would let every sandboxed page of any site act as its visitor")
		case o == "null":
			f.exact[o] = true
		default:
			if err := f.origin(o); err != nil {
				return nil, filter.Errorf(path, "%s", err)
			}
		}
	}
	methods, headers := c.Methods, c.Headers
	if methods == nil {
		methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	}
	if headers == nil {
		headers = []string{"Authorization", "Content-Type"}
	}
	var err error
	if f.methods, f.anyMethod, err = list("methods", methods, true); err != nil {
		return nil, err
	}
	if f.headers, f.anyHeader, err = list("headers", headers, true); err != nil {
		return nil, err
	}
	if f.expose, _, err = list("expose", c.Expose, !c.Credentials); err != nil {
		return nil, err
	}
	if c.MaxAge < 0 || c.MaxAge > 24*time.Hour {
		return nil, filter.Errorf("max_age", "found %v, want 0s to 24h", c.MaxAge)
	}
	f.maxAge = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	f.about = c.explain()
	return f, nil
}

// list joins names that are tokens. A star stands alone; it is said as it is
// where star allows it.
func list(key string, names []string, star bool) (joined string, any bool, err error) {
	if len(names) > maxList {
		return "", false, filter.Errorf(key, "found %d, want at most %d", len(names), maxList)
	}
	for i, n := range names {
		path := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case n == "*" && !star:
			return "", false, filter.Errorf(path, "* has no meaning with credentials (Fetch standard): list the names")
		case n == "*" && len(names) > 1:
			return "", false, filter.Errorf(path, "* covers the others: give it alone, or list the names without it")
		case !content.IsToken(n):
			return "", false, filter.Errorf(path, "found %q, want a name without spaces and separators", n)
		}
		any = any || n == "*"
	}
	return strings.Join(names, ", "), any, nil
}

func (c *Config) explain() string {
	s := "origins " + strings.Join(c.Origins, " ")
	if c.Credentials {
		s += ", with credentials"
	}
	if c.Refuse {
		s += ", others are refused"
	}
	return s
}
