package sidecar

import (
	"fmt"

	"lintel.dev/lintel/config"
	"lintel.dev/lintel/config/compose"
)

// outboundPlaces says where the terms of the app's own calls stand.
func outboundPlaces(s *config.Snapshot) func(service, key string) string {
	return compose.Places(s, func(key string) string { return "sidecar." + key })
}

// upstreamPlaces are those of an upstream's port.
func upstreamPlaces(s *config.Snapshot, i int) func(service, key string) string {
	return compose.Places(s, func(key string) string {
		if key == "hedge" {
			return fmt.Sprintf("sidecar.upstreams[%d].hedge", i)
		}
		return "sidecar." + key
	})
}

// inboundPlaces are those of calls to the app, which is no service of the file.
func inboundPlaces(s *config.Snapshot) func(service, key string) string {
	return func(service, key string) string {
		switch {
		case service != "" && key == "":
			return s.Given("sidecar.app")
		case service != "" && key == "concurrency", service == "" && key != "retries":
			return s.Given("sidecar." + key)
		}
		return ""
	}
}
