// Command native is a service that integrates Connect by Consul's own SDK, for
// tests of interoperability: it serves, or asks another service once.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/connect"
)

func main() {
	agent := flag.String("agent", "", "address of Consul's agent")
	service := flag.String("service", "", "who this is")
	listen := flag.String("listen", "", "serve there until standard input ends")
	ask := flag.String("ask", "", "URL to ask, as https://NAME.service.consul/path")
	flag.Parse()
	if err := run(*agent, *service, *listen, *ask); err != nil {
		fmt.Fprintln(os.Stderr, "native:", err)
		os.Exit(1)
	}
}

func run(agent, service, listen, ask string) error {
	client, err := api.NewClient(&api.Config{Address: agent})
	if err != nil {
		return err
	}
	svc, err := connect.NewService(service, client)
	if err != nil {
		return err
	}
	defer func() { _ = svc.Close() }()
	select {
	case <-svc.ReadyWait():
	case <-time.After(time.Minute):
		return errors.New("no certificate within a minute")
	}
	if ask != "" {
		res, err := svc.HTTPClient().Get(ask)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		fmt.Println(res.StatusCode)
		_, err = io.Copy(os.Stdout, res.Body)
		return err
	}
	s := &http.Server{Addr: listen, TLSConfig: svc.ServerTLSConfig(), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "by the SDK: "+r.URL.Path)
	})}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return s.ListenAndServeTLS("", "")
}
