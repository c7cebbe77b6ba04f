package docs_test

import (
	"regexp"
	"strings"
	"testing"

	"lintel.dev/lintel/proxy/filter/firewall"
)

func TestEveryReservedHeaderIsDocumented(t *testing.T) {
	_, list, ok := strings.Cut(read(t, "docs/identity.md"), "\n\n`Txn-Token`, ")
	if !ok {
		t.Fatal("docs/identity.md lists no reserved headers")
	}
	list, _, _ = strings.Cut(list, "\n\n")
	written := map[string]bool{"Txn-Token": true}
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(list, -1) {
		written[m[1]] = true
	}
	names := map[string]bool{}
	for _, name := range firewall.DefaultNames() {
		names[name] = true
	}
	compare(t, "docs/identity.md", names, written)
}
