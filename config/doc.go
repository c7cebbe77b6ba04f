// Package config turns one YAML file into a Snapshot: strictly, with every
// error reported together at its line, and with the JSON Schema, the reference
// and the redacted dump made from the same struct tags that drive decoding.
//
// The tags of a field:
//
//	yaml:"name"        its key; a field without one cannot be set
//	yaml:",inline"     on an embedded struct: its keys belong to the outer one
//	doc:"one line"     for schema and reference
//	default:"5s"       as it would be written in YAML
//	required:"true"    must be given, and not be empty
//	enum:"a,b"         the allowed values (of each element of a list or map)
//	pattern:"regexp"   what a string must match
//	min:"0" max:"9"    for numbers, durations and sizes
//	unit:"bytes"       an integer that is written as 64KiB, 10MB or 1024
//	unit:"secret"      a string that is never shown; file:/path reads a file
//	listify:"true"     a lone value stands for a list of one
//	short:"Field"      a scalar or list in place of the map sets this field;
//	                   or a method ShortField() string on the type
//	example:"/x"       for schema and reference
//	local:"aws"        a value that only the file may have and no Snippet; "*": any
//
// A struct with a method Validate(report func(path, msg string)) is asked
// after it was decoded. A type with the methods SetFilter and Filter holds a
// filter as the type Filter does, within another filter's section.
package config
