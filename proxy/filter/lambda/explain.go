package lambda

import (
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Account implements filter.Accounter: which of what identifies the caller is
// there, by name.
func (f *Filter) Account(x *exchange.Exchange) string {
	var has, lacks []string
	for i, s := range f.sources {
		name := s.name
		if s.kind == fixed || name == "" {
			name = f.Sources[i]
		}
		if f.value(x, s) == "" {
			lacks = append(lacks, name)
		} else {
			has = append(has, name)
		}
	}
	s := "methodArn " + f.methodARN(x)
	if len(has) > 0 {
		s += "; identified by " + strings.Join(has, " ")
	}
	if len(lacks) > 0 {
		s += "; without " + strings.Join(lacks, " ")
	}
	return s
}

// Identifies implements filter.Identifier.
func (f *Filter) Identifies() {}

// GuardsAnswers implements filter.Guard.
func (f *Filter) GuardsAnswers() {}
