package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestLogsTellDurationsInUnits(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: readable})).Info("draining", "drain", 30*time.Second, "n", 3)
	if !strings.Contains(out.String(), `"drain":"30s","n":3`) {
		t.Error(out.String())
	}
}
