# Few targets; each is what it says. `make test` is what CI runs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# Where tests look for the real Consul and the ACME server: os.UserCacheDir()/lintel.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(if $(filter Darwin,$(shell uname -s)),$(HOME)/Library/Caches,$(HOME)/.cache))/lintel
CONSUL := $(CACHE)/consul-1.19.2
NATIVE := $(CACHE)/consul-1.19.2-native
PEBBLE := $(CACHE)/pebble-v2.10.1
STATICCHECK := $(CACHE)/staticcheck-v0.8.2
FUZZTIME ?= 30s
# poison overwrites released read buffers: who kept a view into one is found out.
# watchdog reports what holds up an event loop.
TAGS := poison,watchdog
SOAK ?= 10m

.PHONY: build test race fuzz bench microbench lint demo tools soak testssl spire

build: ## bin/lintel
	CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/lintel ./cmd/lintel

test: tools ## everything CI checks
	@unformatted=$$(gofmt -l admin cmd config deploy discovery ingress mtls proxy sidecar test tracing); \
	  if [ -n "$$unformatted" ]; then echo "gofmt -w is needed on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go test -race -tags $(TAGS) -timeout 15m $$(go list ./... | grep -v '/lintel/test/')
	go test -run 'Alloc' ./proxy/http1 ./ingress ./tracing ./mtls/txntoken ./proxy/store ./proxy/filter/ratelimit # what the race detector hides
	cd test/tools/manifests && go test ./... # deploy/kubernetes and deploy/nomad against the types of their APIs
	go test -race -tags $(TAGS) -timeout 15m -p 1 ./test/... # whole systems, one after the other

race: ## unit tests only, quickly, again and again: make race PKG=./proxy/...
	go test -race -tags $(TAGS) -timeout 10m -count 3 $(or $(PKG),./proxy/...)

fuzz: ## every fuzz target for FUZZTIME each
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

bench: ## Lintel beside nginx, HAProxy and Caddy, whichever is installed: make bench BENCH='--scenario plain,jwt'
	go run ./test/bench $(BENCH)

microbench: ## every Go benchmark, with allocations
	go test -run '^$$' -bench . -benchmem ./...

# ST1005: Consul is a name. ST1008, ST1013: tests may be plain.
lint: $(STATICCHECK) ## vet and staticcheck
	go vet ./...
	$(STATICCHECK) -checks inherit,-ST1005,-ST1008,-ST1013 ./...

demo: ## an ingress and three services with sidecars, nothing else needed
	go run ./cmd/lintel demo

testssl: ## testssl.sh (Debian, Ubuntu: apt-get install testssl.sh) looks at an edge: about a minute
	go test -tags $(TAGS),testssl -run TestTestssl -timeout 10m -count 1 ./test/ops

spire: $(CACHE)/spire-server-1.13.3 $(CACHE)/spire-agent-1.13.3 ## identities from a real SPIRE; not in CI, since building it takes longer than all tests
	go test -tags $(TAGS),spire -run TestSPIRE -timeout 10m -count 1 -v ./test/ops

soak: tools ## clients that do all sorts of things for SOAK, then the whole-system tests over and over for as long
	LINTEL_SOAK=$(SOAK) go test -race -tags $(TAGS) -run TestSoak -timeout 0 ./proxy/http1
	@end=$$((SECONDS + $$(echo $(SOAK) | sed 's/m$$/*60/; s/h$$/*3600/; s/s$$//'))); \
	  while [ $$SECONDS -lt $$end ]; do go test -race -tags $(TAGS) -count 1 -timeout 20m ./test/...; done

tools: $(CONSUL) $(NATIVE) $(PEBBLE) ## the real Consul, an ACME server and a check for the real Redis, which tests need
	@command -v systemd-analyze >/dev/null || { echo "systemd-analyze is missing: it checks deploy/systemd. Debian, Ubuntu: apt-get install systemd" >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin"; for tool in ip nft; do command -v $$tool >/dev/null || { echo "$$tool is missing: it makes partitions and lossy links for test/mesh. Debian, Ubuntu: apt-get install iproute2 nftables" >&2; exit 1; }; done
	@command -v redis-server >/dev/null || { echo "redis-server is missing: tests run on a real one. Debian, Ubuntu: apt-get install redis-server" >&2; exit 1; }

$(CONSUL):
	@echo "Building Consul 1.19.2 for the tests: about five minutes on two cores, once, kept in $(CACHE)."
	@mkdir -p "$(CACHE)"
	cd test/tools && CGO_ENABLED=0 go build -trimpath -o "$@.tmp" github.com/hashicorp/consul
	@mv "$@.tmp" "$@"

$(NATIVE): test/tools/native/main.go $(CONSUL)
	@mkdir -p "$(CACHE)"
	cd test/tools && CGO_ENABLED=0 go build -trimpath -o "$@.tmp" ./native
	@mv "$@.tmp" "$@"

# SPIRE's datastore, SQLite, needs cgo.
$(CACHE)/spire-%-1.13.3:
	@echo "Building SPIRE's $*: some six minutes on two cores, once, kept in $(CACHE)."
	@mkdir -p "$(CACHE)"
	cd test/tools/spire && CGO_ENABLED=1 go build -trimpath -ldflags="-s -w" -o "$@.tmp" github.com/spiffe/spire/cmd/spire-$*
	@mv "$@.tmp" "$@"

$(PEBBLE):
	@mkdir -p "$(CACHE)"
	cd test/tools/pebble && CGO_ENABLED=0 go build -trimpath -o "$@.tmp" github.com/letsencrypt/pebble/v2/cmd/pebble
	@mv "$@.tmp" "$@"

$(STATICCHECK):
	@mkdir -p "$(CACHE)"
	cd test/tools/staticcheck && go build -trimpath -o "$@.tmp" honnef.co/go/tools/cmd/staticcheck
	@mv "$@.tmp" "$@"
