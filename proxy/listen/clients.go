package listen

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"slices"
)

// trustClients has the CAs of client certificates read and followed together
// with the certificates.
func (c *Certificates) trustClients(path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clientCA = path
	c.stamps = c.look()
	set, err := c.read()
	if err != nil {
		c.clientCA = ""
		return err
	}
	c.cur.Store(set.with(c.managed))
	return nil
}

// current has every handshake check client certificates against the CAs of that
// moment.
func (c *Certificates) current(base *tls.Config) {
	set := c.cur.Load()
	base.ClientCAs = set.clients
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		set := c.cur.Load()
		conf := base.Clone()
		conf.GetConfigForClient, conf.ClientCAs = nil, set.clients
		resumeUnder(conf, base, set.trust)
		return conf, nil
	}
}

// resumeUnder has sessions resumed only under the CAs that they were opened
// under: a resumed session skips the check of the certificate, and a CA that is
// taken away must be able to let nobody in. What is not resumed makes a whole
// handshake. The keys of tickets are keys', which rotates them.
func resumeUnder(conf, keys *tls.Config, trust [sha256.Size]byte) {
	conf.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		s.Extra = append(s.Extra, trust[:])
		return keys.EncryptTicket(cs, s)
	}
	conf.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := keys.DecryptTicket(ticket, cs)
		if err != nil || s == nil || !slices.ContainsFunc(s.Extra, func(e []byte) bool { return bytes.Equal(e, trust[:]) }) {
			return nil, err
		}
		return s, nil
	}
}
