package acme

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// issuer orders certificates. It is certmagic's Issuer, whose own would open
// listeners.
type issuer struct {
	cfg     *Config
	storage certmagic.Storage
	http    *http.Client
	solvers map[string]acmez.Solver
}

func newIssuer(cfg *Config, s certmagic.Storage, p *pending) *issuer {
	i := &issuer{cfg: cfg, storage: s, solvers: map[string]acmez.Solver{}}
	i.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: 30 * time.Second,
		TLSClientConfig: &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12}}}
	if cfg.HTTP01 {
		i.solvers[acme.ChallengeTypeHTTP01] = solver{p, acme.ChallengeTypeHTTP01}
	}
	if cfg.TLSALPN {
		i.solvers[acme.ChallengeTypeTLSALPN01] = solver{p, acme.ChallengeTypeTLSALPN01}
	}
	return i
}

func (i *issuer) close() { i.http.CloseIdleConnections() }

func (i *issuer) client() *acmez.Client {
	return &acmez.Client{ChallengeSolvers: i.solvers, Client: &acme.Client{Directory: i.cfg.CA, HTTPClient: i.http,
		UserAgent: "Lintel", PollTimeout: i.cfg.times.attempt, Logger: quiet(i.cfg.Log)}}
}

// IssuerKey implements certmagic.Issuer: certificates are kept by it.
func (i *issuer) IssuerKey() string { return issuerKey(i.cfg.CA) }

// issuerKey names a CA in the directory as certmagic does.
func issuerKey(ca string) string {
	u, err := url.Parse(ca)
	if err != nil {
		return ca
	}
	if p := strings.Trim(strings.ReplaceAll(u.Path, "/", "-"), "-"); p != "" {
		return u.Host + "-" + p
	}
	return u.Host
}

// Issue implements certmagic.Issuer. Every error ends the attempt: it is the
// Manager that tries again.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	cert, err := i.issue(ctx, csr)
	var p acme.Problem
	if errors.As(err, &p) && p.Type == acme.ProblemTypeAccountDoesNotExist {
		// The CA has begun anew, as those of test systems do.
		if err = i.storage.Delete(ctx, i.accountKey()); err == nil {
			cert, err = i.issue(ctx, csr)
		}
	}
	if err != nil {
		return nil, certmagic.ErrNoRetry{Err: err}
	}
	return cert, nil
}

func (i *issuer) issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	client := i.client()
	account, err := i.account(ctx, client)
	if err != nil {
		return nil, err
	}
	order, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	chains, err := client.ObtainCertificate(ctx, order)
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("acme: the CA has sent no certificate")
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

// saved is an account in the directory. Its key is as secret as those of the
// certificates beside it.
type saved struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"private_key"`
}

func (i *issuer) accountKey() string {
	user := i.cfg.Email
	if user == "" {
		user = "default"
	}
	return path.Join("acme", certmagic.StorageKeys.Safe(i.IssuerKey()), "users", certmagic.StorageKeys.Safe(user), "lintel.json")
}

// account is the one in the directory, or a new one.
func (i *issuer) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	const lock = "account"
	if err := i.storage.Lock(ctx, lock); err != nil {
		return acme.Account{}, err
	}
	defer func() { _ = i.storage.Unlock(ctx, lock) }()
	b, err := i.storage.Load(ctx, i.accountKey())
	if err == nil {
		var s saved
		if err = json.Unmarshal(b, &s); err == nil {
			s.Account.PrivateKey, err = certmagic.PEMDecodePrivateKey([]byte(s.Key))
		}
		if err != nil {
			return acme.Account{}, fmt.Errorf("acme: the account in the directory (%s) cannot be read: %w", i.accountKey(), err)
		}
		return s.Account, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return acme.Account{}, err
	}
	return i.register(ctx, client)
}

func (i *issuer) register(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	var key crypto.PrivateKey
	key, err := certmagic.StandardKeyGenerator{KeyType: certmagic.P256}.GenerateKey()
	if err != nil {
		return acme.Account{}, err
	}
	account := acme.Account{TermsOfServiceAgreed: true, PrivateKey: key.(crypto.Signer)}
	if i.cfg.Email != "" {
		account.Contact = []string{"mailto:" + i.cfg.Email}
	}
	if b := i.cfg.Binding; b != (Binding{}) {
		err := account.SetExternalAccountBinding(ctx, client.Client, acme.EAB{KeyID: b.KeyID, MACKey: strings.TrimRight(b.MACKey, "=")})
		if err != nil {
			return account, fmt.Errorf("acme: external account binding: %w", err)
		}
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return account, fmt.Errorf("acme: no account at the CA: %w", err)
	}
	pem, err := certmagic.PEMEncodePrivateKey(key)
	if err != nil {
		return account, err
	}
	b, err := json.Marshal(saved{account, string(pem)})
	if err != nil {
		return account, err
	}
	i.cfg.Log.Info("acme: account registered", "ca", i.cfg.CA, "account", account.Location)
	return account, i.storage.Store(ctx, i.accountKey(), b)
}
