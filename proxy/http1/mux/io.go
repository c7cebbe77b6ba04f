package mux

import "io"

// Read implements net.Conn.
func (st *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := st.usable(&st.readBy); err != nil {
			return 0, err
		}
		if n := st.in.read(p); n > 0 {
			st.took(n)
			return n, nil
		}
		switch {
		case st.refused:
			return 0, ErrRefused
		case st.ended:
			return 0, io.EOF
		case st.s.err != nil:
			return 0, st.why()
		}
		st.want, st.got = p, 0
		err := st.await(&st.reader, readWaits, &st.readBy)
		n := st.got
		st.want, st.got = nil, 0
		if n > 0 {
			st.took(n)
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// took lets the other side send again what was read, half a window at a time.
func (st *Stream) took(n int) {
	if st.read += n; st.read < Window/2 || st.ended || st.left {
		return
	}
	st.allowed += st.read
	st.s.word(windowFrame, st.id, uint32(st.read))
	st.read = 0
}

// Write implements net.Conn: all of p, or an error. It is sent at the end of the
// turn at the latest.
func (st *Stream) Write(p []byte) (n int, err error) {
	for len(p) > n {
		k, err := st.room(len(p) - n)
		if err != nil {
			return n, err
		}
		st.say()
		if !st.wrote {
			st.wrote, st.from = true, st.s.out.put
		}
		st.credit -= k
		st.s.frame(header{kind: dataFrame, length: k, stream: st.id}, p[n:n+k])
		n += k
	}
	return n, nil
}

// why is what the end of the session means to the stream.
func (st *Stream) why() error {
	if !st.s.accepts() && (!st.wrote || st.from >= st.s.out.sealed) {
		return ErrRefused
	}
	return st.s.err
}

// say gives the stream its number when the other side hears of it first: numbers
// rise on the wire.
func (st *Stream) say() {
	if st.id != 0 {
		return
	}
	s := st.s
	if s.last > 0 {
		s.last++
	}
	s.last++
	st.id = s.last
	s.unsaid--
	s.streams[st.id] = st
}

// room waits until at least one byte may be written, and says how many.
func (st *Stream) room(want int) (int, error) {
	s := st.s
	for {
		err := st.usable(&st.writeBy)
		switch {
		case err != nil:
		case st.refused, st.id == 0 && s.turned:
			err = ErrRefused
		case s.err != nil:
			err = st.why()
		case st.reset:
			err = errReset
		case st.finished:
			err = errEnded
		case st.credit == 0:
			err = st.await(&st.writer, writeWaits, &st.writeBy)
			if err == nil {
				continue
			}
		case !st.let && (s.out.writers.head != nil || !s.out.room()):
			s.out.writers.push(st)
			err = st.await(&st.writer, writeWaits, &st.writeBy)
			if st.queued {
				s.out.writers.remove(st)
			}
			if err == nil {
				continue
			}
		}
		if st.let {
			st.let = false
			s.out.let--
			if err != nil {
				s.sent() // the next one's turn
			}
		}
		return min(want, dataMost, st.credit), err
	}
}

func (st *Stream) wakeWriter() {
	if st.writer != nil {
		st.writer.Wake()
	}
}
