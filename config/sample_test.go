package config

import (
	"net/netip"
	"time"
)

// sample has a field of every kind and tag.
type sample struct {
	Name     string            `yaml:"name" required:"true" pattern:"^[a-z]+$" doc:"A name."`
	Mode     string            `yaml:"mode" enum:"fast,safe" default:"safe" doc:"A mode."`
	On       bool              `yaml:"on" default:"true"`
	Count    int               `yaml:"count" min:"1" max:"10" default:"3"`
	Small    int8              `yaml:"small"`
	Unsigned uint16            `yaml:"unsigned"`
	Code     int               `yaml:"code" enum:"301,302"`
	Ratio    float64           `yaml:"ratio" min:"0" max:"1"`
	Wait     time.Duration     `yaml:"wait" default:"5s" min:"1s" max:"1h"`
	Shift    time.Duration     `yaml:"shift" min:"-1h"`
	Plain    time.Duration     `yaml:"plain"`
	Size     int64             `yaml:"size" unit:"bytes" default:"64KiB" min:"1KiB" max:"1MiB"`
	Secret   string            `yaml:"secret" unit:"secret"`
	Secrets  []string          `yaml:"secrets" unit:"secret"`
	Tags     []string          `yaml:"tags" listify:"true"`
	List     []int             `yaml:"list" max:"5"`
	Words    []string          `yaml:"words" enum:"a,b,503" default:"[a, 503]"`
	Labels   map[string]string `yaml:"labels"`
	Nested   nested            `yaml:"nested"`
	Optional *nested           `yaml:"optional"`
	ByName   map[string]nested `yaml:"by_name"`
	Short    shorted           `yaml:"short"`
	Also     nested            `yaml:"also" short:"Path"`
	Prefix   netip.Prefix      `yaml:"prefix"`
	Addrs    []netip.Addr      `yaml:"addrs" listify:"true"`
	Free     any               `yaml:"free"`
	Filters  []Filter          `yaml:"filters"`
	Checked  *checked          `yaml:"checked"`
	Hidden   string            `yaml:"-"`
	NoTag    string
	common   `yaml:",inline"`
}

type common struct {
	Inlined string `yaml:"inlined"`
}

type nested struct {
	Path string `yaml:"path" example:"/x"`
	Deep int    `yaml:"deep" default:"7"`
}

type shorted struct {
	Hosts []string `yaml:"hosts" listify:"true"`
	TLS   bool     `yaml:"tls"`
}

func (shorted) ShortField() string { return "Hosts" }

type checked struct {
	From int `yaml:"from"`
	To   int `yaml:"to"`
}

func (c *checked) Validate(report func(path, msg string)) {
	if c.From > c.To {
		report("from", "must not be after to")
	}
}

// rateLimit and signer stand for filters' config structs.
type rateLimit struct {
	Rate string        `yaml:"rate" required:"true" doc:"Requests per time."`
	Per  time.Duration `yaml:"per" default:"1s"`
}

func (rateLimit) ShortField() string { return "Rate" }

type signer struct {
	Key  string `yaml:"key" unit:"secret" doc:"The key."`
	Name string `yaml:"name"`
}

func sampleFilters() (map[string]any, map[string]string) {
	return map[string]any{"rate_limit": &rateLimit{}, "signer": &signer{}},
		map[string]string{"rate_limit": "Limits.", "signer": "Signs."}
}
