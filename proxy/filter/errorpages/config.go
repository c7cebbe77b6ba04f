package errorpages

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"lintel.dev/lintel/proxy/filter"
)

// Config is the error_pages section of a route.
type Config struct {
	Pages   map[string]Page `yaml:"pages" doc:"status (404), class (4xx, 5xx) or default to page; without any, or where none fits, a plain one"`
	Service string          `yaml:"service" enum:"off,5xx,all" default:"off" doc:"replace the service's own errors too: of 5xx, or of 4xx and 5xx. What the service said of them is lost, its stack traces included"`
}

// Page is a template for HTML: html/template with {{.Status}}, {{.Title}},
// {{.Detail}}, {{.Code}}, {{.RequestID}}, {{.TraceID}} and {{.RetryAfter}}
// (seconds, or nothing), and {{if}} {{else}} {{end}} around them; nothing else.
type Page struct {
	HTML string `yaml:"html" doc:"the template in place"`
	File string `yaml:"file" local:"*" doc:"or a file with it, read when the configuration is loaded"`
}

// Kind describes the filter to the registry.
func Kind() filter.Kind {
	return filter.Define("error_pages", "shows errors as HTML to browsers and as problem+json to others", build)
}

//go:embed page.html
var plainPage string

// maxPage bounds a template, in bytes.
const maxPage = 256 << 10

var pageName = regexp.MustCompile(`^([45][0-9][0-9]|4xx|5xx|default)$`)

func build(c *Config, _ *filter.Env) (any, error) {
	f := &Filter{pages: map[string]*page{}, service5xx: c.Service == "5xx" || c.Service == "all", service4xx: c.Service == "all"}
	var err error
	if f.pages["default"], err = newPage(plainPage); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Pages)) {
		p, at := c.Pages[name], "pages."+name
		if !pageName.MatchString(name) {
			return nil, filter.Errorf(at, "found %q, want a status like 404, a class (4xx, 5xx) or default", name)
		}
		text, err := p.read()
		if err == nil {
			f.pages[name], err = newPage(text)
		}
		if err != nil {
			return nil, filter.Errorf(at, "%v", err)
		}
	}
	f.about = strings.Join(slices.Sorted(maps.Keys(f.pages)), " ") + ", the service's own: " + c.Service
	return f, nil
}

func (p *Page) read() (string, error) {
	text := p.HTML
	switch {
	case (p.HTML == "") == (p.File == ""):
		return "", fmt.Errorf("want one of html and file")
	case p.File != "":
		info, err := os.Stat(p.File)
		if err == nil && (!info.Mode().IsRegular() || info.Size() > maxPage) {
			err = fmt.Errorf("%s is no regular file of at most %d bytes", p.File, maxPage)
		}
		if err != nil {
			return "", err
		}
		b, err := os.ReadFile(p.File)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	if len(text) > maxPage {
		return "", fmt.Errorf("found %d bytes, at most %d are allowed", len(text), maxPage)
	}
	return text, nil
}
