// Package mux carries many byte streams over one connection of an event loop:
// between two Lintels, under mesh mTLS, and beneath HTTP/1.1, which every stream
// speaks as if it were a connection of its own. What the streams write during
// one turn of the loop goes out together: as one TLS record and one system call
// if it is little.
//
// # The wire, version "lintel/1"
//
// The two sides agree on it by ALPN ([Protocol]). Either side sends frames, one
// after another; TLS records may cut them anywhere. A frame is a header of eight
// bytes, numbers being big-endian, and length bytes of payload:
//
//	type(1) flags(1) length(2) stream(4)
//
//	1 DATA    0..16376 bytes of the stream. Flag 1 (FIN): the sender's half ends
//	          behind them.
//	2 WINDOW  4 bytes: as many further bytes may be sent on the stream.
//	3 RESET   4 bytes, a code: the sender has left the stream. Its half ends here
//	          if it has not yet, and it does not read any more.
//	          0 closed; 1 refused: nothing of what was sent to it since its last
//	          answer has been, or will be, looked at.
//	4 GOAWAY  4 bytes, a stream; the header's is 0. From the accepting side only:
//	          no stream above that one will be looked at. Sent once, and perhaps
//	          once before with the highest number: open no more, none is refused yet.
//
// The dialling side opens a stream with its first DATA on it. Stream numbers are
// odd and rise; none is used twice. At the beginning either side may send
// [Window] bytes on a stream, and a WINDOW never makes it more. A stream is over
// when each side has ended its half, by FIN or RESET; whoever was reset still
// owes its own end. So both sides agree on how many streams there are, and the
// dialling side opens no more than [MaxStreams] at a time.
//
// # Limits
//
// Anything else ends the connection: an unknown type, flag, code or length, a
// stream number that is even, falls or was used, more data than was allowed for,
// data behind an end, more than 2*MaxStreams streams, or more than 4096 oddities
// a second: resets, empty frames, and frames for streams that are over.
// A stream beyond MaxStreams, or after GOAWAY, is refused.
//
// # Memory
//
// A session is given at most MaxStreams*Window = 32 MiB that nobody reads, in
// pieces of 16 KiB, and holds at most 272 KiB of data to be sent, 64 KiB of other
// frames, and 64 KiB encrypted. While nothing is on its way it holds no piece and no task: it is a
// socket, TLS, and a small struct for every stream.
//
// # Time
//
// Deadlines belong to the streams. Of its own a session only has three: it ends
// when there was no stream for Config.Idle (30 seconds later if the other side
// has stopped in the middle of a TLS record), when the other side takes none of
// the bytes it is sent for 30 seconds or its kernel acknowledges none for
// ten, and a second after it was to end and nothing was left to send.
package mux
