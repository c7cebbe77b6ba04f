package loop

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	pipeSize  = 256 << 10
	keptPipes = 8
)

// pipe is what splice(2) needs between two sockets.
type pipe struct{ r, w int }

// Splice waits until src has something and moves it to dst inside the kernel, as
// much as asked for or 256 KB at most; it returns how many bytes dst was given. The error is io.EOF
// when src has ended. Like Read and Write it honours src's read and dst's write
// deadline, and yields. Both connections must be of the running task's loop;
// otherwise, or when the kernel cannot, the error is errors.ErrUnsupported, and
// nothing was moved. After another error bytes may have been taken from src that
// dst never got. writing, if not nil, is called once there is something to be
// written. A pipe is only used while there is something to move.
func Splice(dst, src *Conn, most int64, writing func()) (moved int, err error) {
	l := src.loop
	if dst.loop != l || dst.outside.Load() != nil || src.outside.Load() != nil || l.running == nil {
		return 0, errors.ErrUnsupported
	}
	l.fair()
	p, n, err := src.spliceIn(int(min(most, pipeSize)))
	if err != nil {
		return 0, err
	}
	defer func() { l.pipeDone(p, moved == n) }()
	if writing != nil {
		writing()
	}
	for moved < n {
		k, err := dst.spliceOut(p.r, n-moved)
		moved += k
		if err != nil {
			return moved, err
		}
		l.spend(k)
	}
	return moved, nil
}

// spliceIn waits for bytes and moves them into an empty pipe.
func (c *Conn) spliceIn(most int) (p pipe, n int, err error) {
	for {
		if err := c.usable(&c.readBy); err != nil {
			return p, 0, c.failed("splice", err)
		}
		if !c.readable {
			if err := c.await(&c.reader, readWaits, &c.readBy); err != nil {
				return p, 0, c.failed("splice", err)
			}
			continue
		}
		if p, err = c.loop.pipe(); err != nil {
			return p, 0, errors.ErrUnsupported // out of descriptors, most likely: copying needs none
		}
		// Getting less than asked for says nothing: a pipe is full by pages, too.
		n, errno := splice(c.fd, p.w, most)
		if errno == 0 && n > 0 {
			return p, n, nil
		}
		c.loop.pipeDone(p, true)
		switch errno {
		case 0:
			c.half = true
			return p, 0, io.EOF
		case unix.EAGAIN:
			c.readable = false
		case unix.EINTR:
		case unix.EINVAL:
			return p, 0, errors.ErrUnsupported
		default:
			return p, 0, c.failed("splice", errno)
		}
	}
}

// spliceOut moves something from a pipe, as soon as there is room.
func (c *Conn) spliceOut(from, most int) (int, error) {
	for {
		if err := c.usable(&c.writeBy); err != nil {
			return 0, c.failed("splice", err)
		}
		if !c.writable {
			if err := c.await(&c.writer, writeWaits, &c.writeBy); err != nil {
				return 0, c.failed("splice", err)
			}
			continue
		}
		switch n, errno := splice(from, c.fd, most); errno {
		case 0:
			if n == 0 {
				return 0, c.failed("splice", io.ErrNoProgress) // never: the pipe is not empty
			}
			return n, nil
		case unix.EAGAIN:
			c.writable = false
		case unix.EINTR:
		default:
			return 0, c.failed("splice", errno)
		}
	}
}

func splice(from, to, most int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(most), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(n), errno
}

// pipe takes one that is unused, or makes one.
func (l *Loop) pipe() (pipe, error) {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return pipe{}, os.NewSyscallError("pipe2", err)
	}
	// Refused beyond a limit per user; the default will do then.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return pipe{fds[0], fds[1]}, nil
}

// pipeDone keeps an empty pipe for the next one.
func (l *Loop) pipeDone(p pipe, empty bool) {
	if empty && len(l.pipes) < keptPipes {
		l.pipes = append(l.pipes, p)
		return
	}
	p.close()
}

func (p pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}
