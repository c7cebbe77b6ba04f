package main

import (
	"fmt"
	"net/http"
	"path/filepath"
)

// mtlsPair goes through two processes with mTLS between them: an app's own
// sidecar and that of the service it calls. Both processes' CPU time counts.
//
// Each request carries a hop token, signed and verified (HS256): who calls,
// through whom, until when. No peer does anything like it.
func mtlsPair() *Scenario {
	return meshScenario("mtls_pair", "outbound sidecar to inbound sidecar, mTLS between them, a hop token with each request", "")
}

// mtlsPairTxn has every request begin a transaction of its own: the sidecar
// mints a Txn-Token (an ES256 signature), the other one verifies it.
func mtlsPairTxn() *Scenario {
	return meshScenario("mtls_pair_txn", "the same with txn_token.workload: each request a transaction of its own", "  txn_token: {workload: true}\n")
}

// mtlsPairReuse shows what carrying a Txn-Token costs, without making it.
func mtlsPairReuse() *Scenario {
	return meshScenario("mtls_pair_reuse", "the same with txn_token.reuse: requests share Txn-Tokens", "  txn_token: {workload: true, reuse: 10s}\n")
}

func meshScenario(name, title, txn string) *Scenario {
	outbound := func(b *Bench, p Place) string { return lintelOutbound(b, p, txn) }
	return &Scenario{
		Name:   name,
		Title:  title,
		Metric: cpuPerRequest,
		Target: "≤ 0.60 of a pair of HAProxies",
		Tools:  []string{"wrk"},
		Answer: smallAnswer,
		Header: func(*Bench) http.Header { return http.Header{"Host": {"app"}} },
		Contenders: []Contender{
			{Name: "lintel", Hops: []Hop{{Program: lintelSidecar, Config: outbound}, {Program: lintelSidecar, Config: lintelInbound}}},
			{Name: "haproxy", Hops: []Hop{{Program: haproxy, Config: haproxyOutbound}, {Program: haproxy, Config: haproxyInbound}}},
		},
		Load: wrkGet,
	}
}

func lintelOutbound(b *Bench, p Place, txn string) string {
	return fmt.Sprintf("version: 1\nsidecar:\n  service: client\n  mesh: %q\n  outbound: %q\n", p.Extra, p.Listen) + b.lintelMesh(p, txn) +
		fmt.Sprintf("services:\n  app: {mesh: true, static: %q%s}\n", p.Next, b.maxIdle())
}

func lintelInbound(b *Bench, p Place) string {
	return fmt.Sprintf("version: 1\nsidecar:\n  service: app\n  app: %q\n  mesh: %q\n  outbound: %q\n  policy:\n    allow: [{from: client}]\n",
		p.Next, p.Listen, p.Extra) + b.lintelMesh(p, "")
}

// lintelMesh is what both sidecars say alike: certificates from one small CA.
func (b *Bench) lintelMesh(p Place, txn string) string {
	return fmt.Sprintf("identity:\n  source: embedded\n  embedded: {dir: %q}\n%sadmin: {address: %q}\n%s",
		filepath.Join(b.dir, "ca"), txn, p.Admin, b.lintelLog(false))
}

func haproxyOutbound(b *Bench, p Place) string {
	return haproxyGlobal(b, "") + fmt.Sprintf(`frontend app
  bind %s
  option forwardfor
  default_backend mesh
backend mesh
  http-reuse always
  server app1 %s ssl crt %s ca-file %s verify required verifyhost localhost
`, p.Listen, p.Next, b.Cert.Both, b.Cert.Cert)
}

// haproxyInbound lets in one caller by its certificate, as Lintel's policy does.
func haproxyInbound(b *Bench, p Place) string {
	return haproxyGlobal(b, "") + fmt.Sprintf(`frontend mesh
  bind %s ssl crt %s ca-file %s verify required
  http-request deny unless { ssl_c_s_dn(cn) -m str bench }
  default_backend app
backend app
  http-reuse always
  server app1 %s
`, p.Listen, b.Cert.Both, b.Cert.Cert, p.Next)
}
