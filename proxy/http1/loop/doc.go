// Package loop runs TCP connections on event loops: on Linux one epoll
// instance and one goroutine per core, where every active connection is a
// coroutine (iter.Pull) that reads and writes in straight-line code, and an
// idle one is nothing but a descriptor and a small struct. It knows nothing of
// HTTP.
//
// # Who runs where
//
// A [Loop] takes turns: it asks epoll what has become ready, lets due timers
// and posted functions run, then resumes each runnable [Task] once. Exactly one
// of them runs at any time, and it runs until it waits: in Read or Write of a
// socket that is not ready, Park, Join, Await, Dial or Yield. So tasks of one
// loop share data without locks, and
//
//   - whoever blocks otherwise (a channel, a mutex, a file, a sleep) holds up
//     every connection of the loop: that belongs into [Loop.Await];
//   - whoever holds a mutex while it waits freezes the loop as soon as another
//     task wants that mutex. crypto/tls holds one while it writes.
//
// Both are found by the watchdog of test builds: go test -tags watchdog.
//
// "On the loop" below means: from one of its tasks, or from a function that it
// runs itself (Hangup, Expired, timers, posted functions), which must not wait.
// Methods that are for any goroutine say so.
//
// # Idle connections
//
// A connection is idle or busy. While it is idle nobody waits in it: when bytes,
// the end or an error arrive, the loop makes it busy and lends it a coroutine to
// run [Handler] Ready in. While it is busy only its users look at it, and Hangup
// tells them when the other side leaves and no task would notice by reading.
//
// # Edge-triggered
//
// A descriptor is registered once, for everything, edge-triggered; a read that
// got less than it asked for has drained the socket, so the next one waits
// without asking the kernel again. Non-blocking system calls are made raw,
// without telling Go's scheduler, since they return at once.
package loop
