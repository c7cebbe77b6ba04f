package demo

import (
	"bytes"
	"text/template"
)

// ingressConfig is what a person would write for this gateway.
var ingressConfig = template.Must(template.New("ingress").Parse(`version: 1
listeners:
  - name: edge
    address: {{.Listen}}
admin:
  address: {{.Admin}}
identity:
  source: {{.Identity}}
{{- if .Consul}}
discovery:
  consul: {}
{{- end}}
tracing:
  access_log: {format: "off"}
policies:
  user:
    - jwt:
        iss: https://demo.lintel.local
        audiences: [demo]
        keys: [{file: {{.KeyFile}}}]
    - rate_limit: {requests: 1000, window: 1m, key: [subject]}
routes:
  - name: users
    match: {path: /users/*}
    policies: [user]
    strip_prefix: /users
    service: users
  - name: orders
    match: {path: /orders/*}
    policies: [user]
    strip_prefix: /orders
    service: orders
  - name: stock
    match: {path: /stock/*}
    filters:
      - cache: {}
    authorization: drop
    service: inventory
  - name: limited
    match: {path: /limited}
    filters:
      - rate_limit: {requests: 3, window: 1m}
    respond: {body: "within the limit\n"}
  - name: health
    match: {path: /health}
    respond: {body: "ok\n"}
services:
  users: {mesh: true}
  orders: {mesh: true}
  inventory: {mesh: true}
`))

// sidecarConfig is what a person would write for one sidecar.
var sidecarConfig = template.Must(template.New("sidecar").Parse(`version: 1
sidecar:
  service: {{.Service}}
  app: {{.App}}
  mesh: 127.0.0.1:0
  outbound: 127.0.0.1:0
  policy:
    allow:
      - from: [{{range $i, $c := .Callers}}{{if $i}}, {{end}}{{$c}}{{end}}]
        methods: [GET]
identity:
  source: {{.Identity}}
{{- if .Consul}}
discovery:
  consul: {}
{{- end}}
tracing:
  access_log: {format: "off"}
admin:
  address: "off"
`))

func render(t *template.Template, data any) ([]byte, error) {
	var b bytes.Buffer
	err := t.Execute(&b, data)
	return b.Bytes(), err
}
