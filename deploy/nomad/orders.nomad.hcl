# A service with a Lintel sidecar that starts it: Nomad sees one task, its exit code
# and its health. Checked offline (syntax, and names of blocks and attributes against
# Nomad's API); not run by Lintel's tests.
job "orders" {
  type = "service"

  group "orders" {
    count = 3

    network {
      mode = "host"
      port "mesh" {}
      port "probes" {}
    }

    # The sidecar registers the service in Consul itself.
    task "orders" {
      driver = "exec"

      config {
        command = "/usr/bin/lintel"
        args = ["sidecar", "-c", "local/sidecar.yaml", "--", "/usr/bin/orders", "--listen", "127.0.0.1:8080"]
      }

      template {
        destination = "local/sidecar.yaml"
        data        = <<EOF
version: 1
sidecar:
  service: orders
  id: "orders-{{ env "NOMAD_ALLOC_ID" }}"
  app: 127.0.0.1:8080
  mesh: "0.0.0.0:{{ env "NOMAD_PORT_mesh" }}"
  advertise: "{{ env "NOMAD_IP_mesh" }}:{{ env "NOMAD_PORT_mesh" }}"
  check: {http: /health}
  policy: {allow: [{from: ingress}]}
discovery: {consul: {}}
identity: {source: consul}
admin: {probes: "0.0.0.0:{{ env "NOMAD_PORT_probes" }}"}
shutdown: {drain: 20s, app: 10s}
EOF
      }

      service {
        name     = "orders-lintel"
        provider = "nomad"
        port     = "probes"
        check {
          type     = "http"
          path     = "/readyz"
          interval = "5s"
          timeout  = "2s"
        }
      }

      # shutdown.delay + shutdown.drain + shutdown.app + 15 s; Nomad's own limit is
      # the client's max_kill_timeout.
      kill_signal  = "SIGTERM"
      kill_timeout = "45s"

      resources {
        cpu    = 500
        memory = 256
      }
    }
  }
}
