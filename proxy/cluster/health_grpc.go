package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"lintel.dev/lintel/proxy/exchange"
)

// The gRPC health checking protocol, grpc.health.v1: a message with one string
// is asked, one with one enumeration is the answer.

// serving is ServingStatus.SERVING.
const serving = 1

func grpcRequest(r *exchange.Request, service string) {
	message := []byte{}
	if service != "" {
		message = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) // not compressed
	frame = append(frame, message...)
	r.Method, r.Path, r.Target, r.Proto = "POST", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Check", "HTTP/2.0"
	r.Header.Add("Content-Type", "application/grpc")
	r.Header.Add("TE", "trailers")
	r.Header.Add("User-Agent", "lintel-health")
	r.Body, r.Length = exchange.NewBody(frame), int64(len(frame))
}

func grpcVerdict(x *exchange.Exchange) error {
	if x.Response.Status != 200 {
		return fmt.Errorf("status %d, expected 200", x.Response.Status)
	}
	var body []byte
	if x.Response.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(x.Response.Body, probeBytes)); err != nil {
			return err
		}
	}
	status := x.Response.Trailer.Get("Grpc-Status")
	if status == "" {
		status = x.Response.Header.Get("Grpc-Status") // an answer of trailers only
	}
	if status != "0" {
		return fmt.Errorf("grpc-status %q, expected 0", status)
	}
	state, err := servingStatus(body)
	if err == nil && state != serving {
		err = fmt.Errorf("serving status %d, expected %d (SERVING)", state, serving)
	}
	return err
}

var errNoHealthAnswer = errors.New("the answer is no HealthCheckResponse")

// servingStatus reads a framed HealthCheckResponse.
func servingStatus(body []byte) (uint64, error) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:5])) != uint64(len(body)-5) {
		return 0, errNoHealthAnswer
	}
	var state uint64
	for rest := body[5:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errNoHealthAnswer
		}
		rest = rest[n:]
		value, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errNoHealthAnswer
		}
		rest = rest[n:]
		switch tag & 7 {
		case 0:
			if tag>>3 == 1 {
				state = value
			}
		case 2: // a field of a later version
			if value > uint64(len(rest)) {
				return 0, errNoHealthAnswer
			}
			rest = rest[value:]
		default:
			return 0, errNoHealthAnswer
		}
	}
	return state, nil
}
