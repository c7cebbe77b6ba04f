package difftest

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's transport has much to say about such services
	goleak.VerifyTestMain(m)
}
