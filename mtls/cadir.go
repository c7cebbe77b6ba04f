package mtls

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	caFileName   = "ca.json"
	caLockName   = "ca.lock"
	caFileLimit  = 1 << 20
	caFileFormat = 1
)

// caDir keeps a CA in a directory. The one file is replaced atomically, so
// readers need no lock; writers hold a file lock, so that of several processes
// that start at once one makes the CA and the others find it.
type caDir struct {
	path string
	seen []byte // the file as last read
}

type caFile struct {
	Version     int          `json:"version"`
	TrustDomain string       `json:"trust_domain"`
	Roots       []caFileRoot `json:"roots"` // oldest first
}

type caFileRoot struct {
	Cert      string    `json:"cert"` // PEM
	Key       string    `json:"key"`  // PEM, PKCS #8
	SignsFrom time.Time `json:"signs_from"`
	RetiresAt time.Time `json:"retires_at,omitzero"`
}

func openCADir(path string) (*caDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("its directory: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("its directory %s has mode %#o: others could replace the CA's key; run chmod 700 %s", path, mode, path)
	}
	return &caDir{path: path}, nil
}

func (d *caDir) file() string { return filepath.Join(d.path, caFileName) }

func (d *caDir) loadOrCreate(td spiffeid.TrustDomain) (roots []caRoot, err error) {
	err = withFileLock(filepath.Join(d.path, caLockName), func() error {
		data, err := d.read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			root, err := newRoot(td, time.Now())
			if err != nil {
				return err
			}
			roots = []caRoot{root}
			return d.write(td, roots)
		case err != nil:
			return err
		}
		roots, err = d.parse(data, td)
		d.seen = data
		return err
	})
	return roots, err
}

// reload reads the file and says whether it changed since it was last read.
func (d *caDir) reload(td spiffeid.TrustDomain) (roots []caRoot, changed bool, err error) {
	data, err := d.read()
	if err != nil || bytes.Equal(data, d.seen) {
		return nil, false, err
	}
	if roots, err = d.parse(data, td); err != nil {
		return nil, false, err
	}
	d.seen = data
	return roots, true, nil
}

// update replaces the roots by what f makes of those in the file.
func (d *caDir) update(td spiffeid.TrustDomain, f func([]caRoot) ([]caRoot, error)) (roots []caRoot, err error) {
	err = withFileLock(filepath.Join(d.path, caLockName), func() error {
		data, err := d.read()
		if err != nil {
			return err
		}
		if roots, err = d.parse(data, td); err != nil {
			return err
		}
		if roots, err = f(roots); err != nil {
			return err
		}
		return d.write(td, roots)
	})
	return roots, err
}

func (d *caDir) read() ([]byte, error) {
	f, err := os.Open(d.file())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s holds the CA's key and has mode %#o, readable by others; make a new CA, or run chmod 600 on it", d.file(), mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, caFileLimit+1))
	if err == nil && len(data) > caFileLimit {
		err = fmt.Errorf("%s is larger than %d bytes: it is not a CA file", d.file(), caFileLimit)
	}
	return data, err
}

func (d *caDir) write(td spiffeid.TrustDomain, roots []caRoot) error {
	content := caFile{Version: caFileFormat, TrustDomain: td.Name()}
	for _, r := range roots {
		key, err := x509.MarshalPKCS8PrivateKey(r.key)
		if err != nil {
			return err
		}
		content.Roots = append(content.Roots, caFileRoot{
			Cert:      string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw})),
			Key:       string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
			SignsFrom: r.signsFrom, RetiresAt: r.retiresAt,
		})
	}
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(d.path, ".ca-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), d.file()); err != nil {
		return err
	}
	d.seen = data
	return nil
}

func (d *caDir) parse(data []byte, td spiffeid.TrustDomain) ([]caRoot, error) {
	roots, err := parseCAFile(data, td)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.file(), err)
	}
	return roots, nil
}

func parseCAFile(data []byte, td spiffeid.TrustDomain) ([]caRoot, error) {
	var content caFile
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&content); err != nil {
		return nil, fmt.Errorf("not a CA file: %w", err)
	}
	switch {
	case content.Version != caFileFormat:
		return nil, fmt.Errorf("version %d, expected %d: made by another release of Lintel", content.Version, caFileFormat)
	case content.TrustDomain != td.Name():
		return nil, fmt.Errorf("made for trust domain %q, but %q is configured: change identity.trust_domain or the directory", content.TrustDomain, td.Name())
	case len(content.Roots) == 0:
		return nil, errors.New("no root in it")
	}
	roots := make([]caRoot, len(content.Roots))
	for i, r := range content.Roots {
		root, err := parseCARoot(r)
		if err != nil {
			return nil, fmt.Errorf("root %d: %w", i+1, err)
		}
		roots[i] = root
	}
	return roots, nil
}

func parseCARoot(r caFileRoot) (caRoot, error) {
	block, _ := pem.Decode([]byte(r.Cert))
	if block == nil {
		return caRoot{}, errors.New("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return caRoot{}, err
	}
	der, err := parseKey([]byte(r.Key))
	if err != nil {
		return caRoot{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return caRoot{}, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return caRoot{}, fmt.Errorf("a key of type %T cannot sign", key)
	}
	pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return caRoot{}, errors.New("key and certificate do not belong together")
	}
	return caRoot{cert: cert, key: signer, signsFrom: r.SignsFrom, retiresAt: r.RetiresAt}, nil
}
