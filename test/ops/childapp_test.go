package ops_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// childApp is an app that a sidecar starts. It says on standard output what
// happens to it, answers HTTP at LINTEL_TEST_CHILD, and on SIGTERM calls another
// service through its sidecar before it ends with the code 5. As a job
// (LINTEL_TEST_CHILD=job) it calls and ends with LINTEL_TEST_CODE.
func childApp() int {
	addr := os.Getenv("LINTEL_TEST_CHILD")
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGQUIT)
	fmt.Printf("app: up pid=%d notify=%q\n", os.Getpid(), os.Getenv("NOTIFY_SOCKET"))
	if addr == "job" {
		fmt.Println("app: job", callThroughSidecar())
		code, _ := strconv.Atoi(os.Getenv("LINTEL_TEST_CODE"))
		return code
	}
	leave := make(chan int, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("app: slow begins")
		time.Sleep(time.Second)
		fmt.Println("app: slow ends")
		_, _ = io.WriteString(w, "slow\n")
	})
	mux.HandleFunc("/leave", func(w http.ResponseWriter, r *http.Request) { leave <- 7 })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "child\n") })
	go func() {
		if err := http.ListenAndServe(addr, mux); err != nil {
			fmt.Println("app:", err)
			os.Exit(99)
		}
	}()
	for {
		select {
		case code := <-leave:
			return code
		case s := <-signals:
			fmt.Println("app: signal", s)
			if s == syscall.SIGTERM {
				fmt.Println("app: last call", callThroughSidecar())
				return 5
			}
		}
	}
}

// callThroughSidecar asks inventory by the sidecar's outbound port.
func callThroughSidecar() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+os.Getenv("LINTEL_OUTBOUND")+"/last", nil)
	if err != nil {
		return err.Error()
	}
	req.Host = "inventory"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	_ = res.Body.Close()
	return res.Status
}
