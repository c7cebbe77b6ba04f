package mtls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// EmbeddedConfig asks for an identity from an embedded CA.
type EmbeddedConfig struct {
	CA     CAConfig
	ID     string        // the SPIFFE ID to be; in the CA's trust domain
	Socket string        // absolute path of the Workload API's socket; "" makes a private temporary one
	Wait   time.Duration // for the first identity; DefaultWait
}

// Embedded opens the CA, serves the Workload API for cfg.ID and connects to it
// as any other client would. For development and the demo only: see CA.
func Embedded(ctx context.Context, cfg EmbeddedConfig) (Source, error) {
	ca, err := OpenCA(cfg.CA)
	if err != nil {
		return nil, err
	}
	src, err := ca.Source(ctx, cfg.ID, cfg.Socket, cfg.Wait)
	if err != nil {
		return nil, errors.Join(err, ca.Close())
	}
	s := src.(*embeddedSource)
	s.ownedCA = ca
	return s, nil
}

// Source serves the Workload API for id at socket ("" makes a private
// temporary one) and returns the client's Source. Several identities of one
// process share the CA this way. Closing the Source closes its server.
func (c *CA) Source(ctx context.Context, id, socket string, wait time.Duration) (Source, error) {
	s := &embeddedSource{}
	if socket == "" {
		dir, err := os.MkdirTemp("", "lintel-") // mode 0700
		if err != nil {
			return nil, fmt.Errorf("mtls: directory for the Workload API's socket: %w", err)
		}
		s.tempDir, socket = dir, filepath.Join(dir, "agent.sock")
	}
	var err error
	// Not ctx: that one ends with the boot, the server lives until Close.
	if s.server, err = c.Serve(context.WithoutCancel(ctx), socket, id); err != nil {
		return nil, errors.Join(err, s.closeRest())
	}
	s.workloadSource, err = newWorkload(ctx, WorkloadConfig{Address: socket, ID: id, Wait: wait, Log: c.log}, "embedded")
	if err != nil {
		return nil, errors.Join(err, s.closeRest())
	}
	return s, nil
}

type embeddedSource struct {
	*workloadSource
	server  *Server
	tempDir string // "" when the socket's place was configured
	ownedCA *CA    // nil when the CA belongs to someone else
}

// Close implements Source.
func (s *embeddedSource) Close() error {
	return errors.Join(s.workloadSource.Close(), s.closeRest())
}

func (s *embeddedSource) closeRest() error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	if s.ownedCA != nil {
		errs = append(errs, s.ownedCA.Close())
	}
	if s.tempDir != "" {
		errs = append(errs, os.RemoveAll(s.tempDir))
	}
	return errors.Join(errs...)
}
