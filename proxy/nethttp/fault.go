package nethttp

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
		"destination_unavailable", "", errors.New("nethttp: the transport is closed")))
}

func refusingFault(address string) *exchange.Fault {
	return retryable(upstreamFault(http.StatusServiceUnavailable, "no-stream", "Service takes no requests",
		"destination_unavailable", "the endpoint accepts connections but no requests on them",
		fmt.Errorf("nethttp: %s: %d fresh connections had no room for a request", address, maxDials)))
}

// gone tells a client that went away from an exchange that was given up for
// another reason, which is the context's cause: net/http cancels a request's
// context without one.
func gone(ctx context.Context) *exchange.Fault {
	cause := context.Cause(ctx)
	var own *exchange.Fault
	switch {
	case cause == nil:
		return nil
	case errors.As(cause, &own):
		return own
	case errors.Is(cause, context.Canceled):
		return &exchange.Fault{Source: exchange.FromClient, Status: 499, Code: "client-gone",
			Title: "Client went away", Close: true, Err: cause}
	default:
		return upstreamFault(http.StatusGatewayTimeout, "timeout", "Service did not answer in time",
			"http_response_timeout", "", cause)
	}
}

// fullFault is for a wait that ended before a connection was free.
func fullFault(ctx context.Context, address string, limit int) *exchange.Fault {
	if f := gone(ctx); f != nil && f.Source == exchange.FromClient {
		return f
	}
	return retryable(upstreamFault(http.StatusServiceUnavailable, "pool-full", "Too many connections",
		"connection_limit_reached", fmt.Sprintf("all %d connections to the endpoint are busy", limit),
		fmt.Errorf("nethttp: waiting for a connection to %s: %w", address, context.Cause(ctx))))
}

// dialFault says why there is no connection. Nothing was sent, so another
// endpoint may be tried.
func dialFault(ctx context.Context, address string, limit time.Duration, err error) *exchange.Fault {
	if f := gone(ctx); f != nil {
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
	err = fmt.Errorf("nethttp: connecting to %s: %w", address, err)
	f := upstreamFault(http.StatusBadGateway, "connect-failed", "Service cannot be reached", "destination_unavailable", "", err)
	f.Retryable = true
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
	case errors.As(err, &alert):
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

func protocolFault(address, detail string) *exchange.Fault {
	return upstreamFault(http.StatusBadGateway, "bad-answer", "Service gave an invalid answer", "http_protocol_error",
		detail, fmt.Errorf("nethttp: %s: %s", address, detail))
}

// failed ends an attempt that got no answer and says why.
func (a *attempt) failed(ctx context.Context, x *exchange.Exchange, info *exchange.ConnInfo, err error) *exchange.Fault {
	untouched := true
	var cause error
	if a.body != nil {
		cause, untouched = a.body.state()
		x.Request.Read += a.body.taken.Load()
	}
	sent := a.c.raw.wrote.Load() != a.wrote
	a.release(false)
	if cause != nil {
		var f *exchange.Fault
		if errors.As(cause, &f) {
			return f
		}
		if f := gone(ctx); f != nil && f.Source != exchange.FromClient {
			return f // reading the body was given up for that
		}
		return &exchange.Fault{Source: exchange.FromClient, Status: http.StatusBadRequest, Code: "body-incomplete",
			Title: "Request body is incomplete", Close: true, Err: cause}
	}
	if f := gone(ctx); f != nil {
		return f
	}
	f := a.classify(info, sent, err)
	f.Retryable = f.Retryable && untouched
	return f
}

// http2StreamError has the shape of net/http's own, unexported one, which lets
// errors.As fill it.
type http2StreamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e http2StreamError) Error() string { return fmt.Sprintf("stream error %d", e.Code) }

const http2RefusedStream = 7 // RFC 9113 section 7

func (a *attempt) classify(info *exchange.ConnInfo, sent bool, err error) *exchange.Fault {
	h2 := info.Protocol == "h2"
	text := err.Error()
	err = fmt.Errorf("nethttp: %s: %w", a.c.p.key.address, err)
	var stream http2StreamError
	switch {
	case h2 && errors.As(err, &stream) && stream.Code == http2RefusedStream:
		return retryable(upstreamFault(http.StatusServiceUnavailable, "refused", "Service refused the request",
			"destination_unavailable", "", err))
	case h2 && (strings.Contains(text, "graceful shutdown GOAWAY") || strings.Contains(text, "client conn not usable") ||
		strings.Contains(text, "client conn could not be established")):
		// RFC 9113 section 6.8: streams above the GOAWAY's last were not
		// processed. net/http keeps these errors to itself, hence by text.
		return retryable(upstreamFault(http.StatusServiceUnavailable, "going-away", "Service is going away",
			"destination_unavailable", "", err))
	case (h2 || !sent) && refused(err, h2):
		// net/http refused to write it. That is ours to have prevented and
		// says nothing about the service. Over HTTP/2 frames that are no
		// request's are written meanwhile, so sent does not tell. It closes the connection over it, so
		// the connection's state does not tell.
		return &exchange.Fault{Source: exchange.FromSelf, Status: http.StatusInternalServerError, Code: "internal",
			Title: "Internal error", Err: err}
	case !h2 && !sent:
		return retryable(upstreamFault(http.StatusBadGateway, "stale-connection", "Connection was closed by the service",
			"connection_terminated", "", err))
	case strings.Contains(text, "response headers exceeded"), strings.Contains(text, "header list larger"):
		return upstreamFault(http.StatusBadGateway, "answer-head-too-large", "Service's answer has too large a head",
			"http_response_header_section_size", "", err)
	case errors.Is(err, errTooManyInformational):
		return protocolFault(a.c.p.key.address, "it sent too many 1xx answers")
	case isTimeout(err):
		return upstreamFault(http.StatusGatewayTimeout, "reset", "Connection timed out", "connection_read_timeout", "", err)
	case !h2 && info.Reused && !a.first.Load() && isHangup(err):
		return upstreamFault(http.StatusBadGateway, "stale-connection", "Connection was closed by the service",
			"connection_terminated", "", err)
	case a.first.Load() && isHangup(err):
		return upstreamFault(http.StatusBadGateway, "reset", "Service's answer broke off", "http_response_incomplete", "", err)
	case isHangup(err), h2:
		return upstreamFault(http.StatusBadGateway, "reset", "Connection was closed by the service", "connection_terminated", "", err)
	}
	return upstreamFault(http.StatusBadGateway, "bad-answer", "Service gave an invalid answer", "http_protocol_error", "", err)
}

// refused tells net/http's own refusal of a request from what happened to its
// connection. net/http says the former only in texts over HTTP/2; over HTTP/1
// whatever is not the connection's is a refusal.
func refused(err error, h2 bool) bool {
	var network net.Error
	if isHangup(err) || errors.As(err, &network) {
		return false
	}
	text := err.Error()
	if h2 {
		var stream http2StreamError
		if errors.As(err, &stream) {
			return false // the service's
		}
		return strings.Contains(text, "http2: invalid ") || strings.Contains(text, "http: invalid ")
	}
	for _, gone := range []string{"connection is unavailable", "readLoop exiting", "readLoopPeekFail", "idle connection timeout", "ClientConn closed"} {
		if strings.Contains(text, gone) {
			return false
		}
	}
	return true
}

func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, errSendEnded) ||
		strings.Contains(err.Error(), "server closed idle connection")
}
