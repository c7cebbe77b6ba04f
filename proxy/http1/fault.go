package http1

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"lintel.dev/lintel/proxy/exchange"
	"lintel.dev/lintel/proxy/http1/mux"
)

// The Proxy values are the error tokens of RFC 9209 section 2.3.

func upstreamFault(status int, code, title, token, detail string, err error) *exchange.Fault {
	return &exchange.Fault{Source: exchange.FromUpstream, Status: status, Code: code, Title: title,
		Detail: detail, Proxy: token, Err: err}
}

func retryable(f *exchange.Fault) *exchange.Fault {
	f.Retryable = true
	return f
}

func closedFault() *exchange.Fault {
	return retryable(upstreamFault(http.StatusServiceUnavailable, "closed", "Service is going away",
		"destination_unavailable", "", errors.New("http1: the transport is closed")))
}

// gone tells a client that went away from an exchange that was given up for
// another reason. Nil: x goes on.
func gone(x *exchange.Exchange) *exchange.Fault {
	cause := x.Ended()
	var own *exchange.Fault
	switch {
	case cause == nil:
		return nil
	case errors.As(cause, &own):
		return own
	case errors.Is(cause, context.Canceled):
		return &exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone",
			Title: "Client went away", Close: true, Err: cause}
	}
	return upstreamFault(http.StatusGatewayTimeout, "timeout", "Service did not answer in time",
		"http_response_timeout", "", cause)
}

// fullFault is for a wait that ended before a connection was free.
func fullFault(x *exchange.Exchange, address string, limit int) *exchange.Fault {
	if f := gone(x); f != nil && f.Source == exchange.FromClient {
		return f
	}
	return retryable(upstreamFault(http.StatusServiceUnavailable, "pool-full", "Too many connections",
		"connection_limit_reached", fmt.Sprintf("all %d connections to the endpoint are busy", limit),
		fmt.Errorf("http1: waiting for a connection to %s: %w", address, x.Ended())))
}

// tlsError marks what went wrong in a handshake, after TCP was there.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// dialFault says why there is no connection. Nothing was sent, so another
// endpoint may be tried.
func dialFault(x *exchange.Exchange, address string, limit time.Duration, err error) *exchange.Fault {
	if f := gone(x); f != nil {
		if f.Source == exchange.FromClient {
			return f
		}
		f.Proxy = "connection_timeout"
		return retryable(f)
	}
	var own *exchange.Fault
	if errors.As(err, &own) {
		return own // the TLS config says so: it is our own doing, not the service's
	}
	err = fmt.Errorf("http1: connecting to %s: %w", address, err)
	f := retryable(upstreamFault(http.StatusBadGateway, "connect-failed", "Service cannot be reached", "destination_unavailable", "", err))
	var (
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		alert   tls.AlertError
		shaking *tlsError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		f.Status, f.Code, f.Proxy = http.StatusGatewayTimeout, "connect-timeout", "connection_timeout"
		f.Detail = "no connection within " + limit.String()
	case errors.As(err, &cert), isCertError(err):
		f.Code, f.Proxy, f.Title = "tls-certificate", "tls_certificate_error", "Service's certificate is not accepted"
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		f.Code, f.Proxy, f.Title = "tls-refused", "tls_alert_received", "Service refused the TLS handshake"
	case errors.As(err, &shaking):
		f.Code, f.Proxy, f.Title = "tls-failed", "tls_protocol_error", "TLS handshake failed"
	case errors.As(err, &dns):
		f.Code, f.Proxy = "dns-failed", "dns_error"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Code, f.Proxy = "connect-refused", "connection_refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		f.Code, f.Proxy = "unroutable", "destination_ip_unroutable"
	}
	return f
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isCertError(err error) bool {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid)
}

// answerError is an answer that is no HTTP/1.1.
type answerError struct{ what string }

func (e *answerError) Error() string { return "http1: " + e.what }

var errAnswerHead = errors.New("http1: the answer's head is too large")

func (l *link) annotate(err error) error {
	if err == nil {
		return fmt.Errorf("http1: %s", l.place.address)
	}
	return fmt.Errorf("http1: %s: %w", l.place.address, err)
}

// failed ends an attempt that got no answer and says why.
func (a *attempt) failed(err error) *exchange.Fault {
	l, x := a.l, a.x
	stopped := l.unwatch()
	var cause error
	if a.upload != nil {
		a.upload.refuse()
		cause = a.upload.failure()
	}
	var body *bodyError
	if errors.As(err, &body) {
		cause = body.err
	}
	l.discard()
	x.DropResponse()
	if l.buf != nil {
		l.buf.Free()
		l.buf = nil
	}
	var own *exchange.Fault
	switch {
	case cause != nil:
		if errors.As(cause, &own) {
			return own
		}
		if f := gone(x); f != nil {
			return f // reading the body was given up for that
		}
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
			Title: "Request body is incomplete", Close: true, Err: cause}
	case stopped:
		if f := gone(x); f != nil {
			return f
		}
	}
	if errors.As(err, &own) {
		return own
	}
	f := a.classify(err)
	f.Retryable = f.Retryable && !a.begun
	return f
}

func (a *attempt) classify(err error) *exchange.Fault {
	wrapped := a.l.annotate(err)
	var wrong *answerError
	switch {
	case errors.Is(err, errAnswerHead):
		return upstreamFault(http.StatusBadGateway, "answer-head-too-large", "Service's answer has too large a head",
			"http_response_header_section_size", "", wrapped)
	case errors.Is(err, errTooManyInterim):
		return wrongAnswer("it sent too many 1xx answers", wrapped)
	case errors.Is(err, errUnasked):
		return wrongAnswer("it switched protocols without being asked", wrapped)
	case errors.Is(err, errOtherProtocol):
		return wrongAnswer("it switched to a protocol that was not asked for", wrapped)
	case errors.As(err, &wrong):
		return wrongAnswer(wrong.what, wrapped)
	case !a.sent, errors.Is(err, mux.ErrRefused) && !a.heard:
		return retryable(upstreamFault(http.StatusBadGateway, "stale-connection", "Connection was closed by the service",
			"connection_terminated", "", wrapped))
	case isTimeout(err):
		return upstreamFault(http.StatusGatewayTimeout, "reset", "Connection timed out", "connection_read_timeout", "", wrapped)
	case a.heard:
		return upstreamFault(http.StatusBadGateway, "reset", "Service's answer broke off", "http_response_incomplete", "", wrapped)
	case a.l.info.Reused && isHangup(err):
		return upstreamFault(http.StatusBadGateway, "stale-connection", "Connection was closed by the service",
			"connection_terminated", "", wrapped)
	}
	return upstreamFault(http.StatusBadGateway, "reset", "Connection was closed by the service", "connection_terminated", "", wrapped)
}

func wrongAnswer(detail string, err error) *exchange.Fault {
	f := badAnswer(detail)
	f.Err = err
	return f
}

func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
