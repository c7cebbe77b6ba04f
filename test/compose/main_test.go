package compose_test

import (
	"os"
	"testing"

	"lintel.dev/lintel/test/kit"
)

func TestMain(m *testing.M) {
	code := m.Run()
	kit.Clean()
	os.Exit(code)
}
