package discovery

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"time"
)

const (
	// confirmEvery is how often it is written down which answers still hold, so
	// that the age found on disk is true to about this.
	confirmEvery = time.Minute
	// confirmedFor is how long a record that nobody asks for is remembered to have
	// been confirmed.
	confirmedFor = 30 * 24 * time.Hour
)

// confirmation says when a record was last known to hold.
type confirmation struct {
	Sum string    `json:"sha256"` // of the record, lest it speaks for another
	At  time.Time `json:"at"`
}

// confirmations are those of all records, by their files' names. One small file
// holds them: writing thousands of unchanged records again would keep a disk busy.
// Without it records are only older.
type confirmations struct {
	path    string
	last    map[string]confirmation
	changed bool // since it was written
}

func openConfirmations(path string, log *slog.Logger) confirmations {
	c := confirmations{path: path, last: map[string]confirmation{}}
	text, err := readFile(path)
	var s sealed
	if err == nil {
		s, err = unseal(text)
	}
	if err == nil {
		err = json.Unmarshal(s.Record, &c.last)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("discovery: the file of when endpoints were last confirmed cannot be used; they look older than they are", "file", path, "error", err)
		}
		clear(c.last)
	}
	old := time.Now().Add(-confirmedFor)
	maps.DeleteFunc(c.last, func(_ string, l confirmation) bool { return l.At.Before(old) })
	return c
}

// of is the zero confirmation, which speaks for no record, when there is none.
func (c *confirmations) of(name string) confirmation { return c.last[name] }

// wrote begins anew with a record's file.
func (c *confirmations) wrote(name, sum string, at time.Time) {
	c.last[name] = confirmation{Sum: sum, At: at}
}

func (c *confirmations) note(name string, at time.Time) {
	l, known := c.last[name]
	if !known || !at.After(l.At) {
		return
	}
	l.At = at
	c.last[name] = l
	c.changed = true
}

// news is the file's new text, nil if it would say the same.
func (c *confirmations) news() []byte {
	if !c.changed {
		return nil
	}
	c.changed = false
	text, err := json.Marshal(c.last)
	if err == nil {
		text, _, err = seal(text)
	}
	if err != nil {
		panic(err) // strings and times always marshal
	}
	return text
}
