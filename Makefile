# Two commands matter: `make run` starts the daemon from a fresh clone, `make test` checks everything. Both want root.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
RUN_FLAGS   ?=

# What the tests hold the daemon against, as COMMAND:PACKAGE. gcc and the C headers are for the race detector.
TEST_TOOLS  := nft:nftables iptables-nft:iptables ip:iproute2 ss:iproute2 conntrack:conntrack curl:curl gcc:gcc
TEST_FILES  := /usr/include/stdlib.h:libc6-dev
# Libraries of Docker's engine.
TEST_FILES  += /lib/*/libdevmapper.so.1.02.1:libdevmapper1.02.1 /lib/*/libsystemd.so.0:libsystemd0 /lib/*/libseccomp.so.2:libseccomp2
# Docker's client and engine, as COMMAND:PACKAGE. They are unpacked, not installed: that would start services. The client is in the first
# of its packages that there is.
UNPACKED := docker:docker-cli docker:docker.io dockerd:docker.io docker-proxy:docker.io \
	containerd:containerd containerd-shim-runc-v2:containerd ctr:containerd runc:runc busybox:busybox-static
# CNI's reference plugins, and the tool that drives plugins from the shell.
UNPACKED += bridge:containernetworking-plugins host-local:containernetworking-plugins portmap:containernetworking-plugins \
	firewall:containernetworking-plugins tuning:containernetworking-plugins bandwidth:containernetworking-plugins
CNITOOL     ?= github.com/containernetworking/cni/cnitool@v1.3.0

export CGO_ENABLED ?= 0
# Debian's tools for root, also where PATH is a user's.
export PATH := $(PATH):/usr/sbin:/sbin:$(CURDIR)/bin/tools

# For how long each fuzz target runs, and how many do at a time.
FUZZTIME    ?= 20s
FUZZJOBS    ?= $(shell nproc)

.PHONY: all build run test fuzz soak tools check bench clean
all: build

# One static binary: no C and no other program. Nor what nobody speaks on these sockets, but net/http brings: HTTP/2 is left out, half a megabyte, and TLS
# has to do without assembly (purego), a sixth of one; names and ids are hashed without it, too, which takes 0.3 µs more.
build:
	CGO_ENABLED=0 $(GO) build -buildvcs=false -tags nethttpomithttp2,purego -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/bridged ./cmd/bridged

run: build
	exec ./bin/bridged daemon $(RUN_FLAGS)

test: tools check build
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...
	$(MAKE) fuzz

# Every fuzz target there is. An input that makes one fail is written to testdata/fuzz of its package: commit it with the fix. Without the
# race detector, with which nothing would be found in this time. What Go's fuzzer says by mistake at the end of the time is passed over:
# go.dev/issue/75804.
fuzz:
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*(' . | sed -E 's#^(.*)/[^/]*:func (.*)\($$#\1 \2#' | sort | \
	xargs -P $(FUZZJOBS) -L 1 sh -c ' \
		out=$$(CGO_ENABLED=0 $(GO) test -vet=off -run "^$$" -fuzz "^$$1$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -parallel 1 "$$0" 2>&1) || \
			{ echo "$$out" | grep -q "^    context deadline exceeded$$" && ! echo "$$out" | grep -q "Failing input"; } || \
			{ echo "$$out"; exit 1; }; \
		echo "$$0 $$1:" $$(echo "$$out" | grep -o "execs: [0-9]*" | tail -n 1)'

# Storms of clients of a minute each, under the race detector, and cycles by the ten thousand.
soak: build
	CGO_ENABLED=1 BRIDGED_SOAK=1 $(GO) test -race -count 1 -timeout 20m -run '^TestStorm$$' -v ./engine
	BRIDGED_SOAK=1 $(GO) test -count 1 -timeout 60m -run '^TestSoak$$' -v ./test

# gofmt, vet and staticcheck: quick, and first.
check:
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# Installs what is missing, and only then asks Debian for its lists.
tools:
	@missing=""; \
	for t in $(TEST_TOOLS); do command -v $${t%%:*} >/dev/null || missing="$$missing $${t##*:}"; done; \
	for f in $(TEST_FILES); do [ -e $${f%%:*} ] || missing="$$missing $${f##*:}"; done; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q && apt-get install -q -y --no-install-recommends $$missing; \
	fi
	@missing=""; \
	for u in $(UNPACKED); do [ -e bin/tools/$${u%%:*} ] || missing="$$missing $$u"; done; \
	if [ -n "$$missing" ]; then \
		echo "unpacking$$missing"; \
		dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && mkdir -p bin/tools && apt-get update -q && cd "$$dir" || exit 1; \
		for u in $$missing; do echo $${u##*:}; done | sort -u | while read -r p; do \
			apt-cache show $$p >/dev/null 2>&1 || continue; \
			apt-get download -q -o APT::Sandbox::User=root $$p && dpkg-deb -x $${p}_*.deb .; \
		done; \
		for u in $$missing; do \
			[ -e $(CURDIR)/bin/tools/$${u%%:*} ] || find . -type f -name $${u%%:*} -perm -1 -exec cp {} $(CURDIR)/bin/tools/ ';'; \
		done; \
		for u in $$missing; do [ -e $(CURDIR)/bin/tools/$${u%%:*} ] || { echo "no $${u%%:*} in $${u##*:}"; exit 1; }; done; \
	fi
	@[ -e bin/tools/cnitool ] || GOBIN=$(CURDIR)/bin/tools $(GO) install $(CNITOOL)

# Go benchmarks of the inner pieces, in the format that benchstat reads. The kernel's floor, bridged and other ways to do the same in one
# run, with a page of plots: go run ./bench --html page.html
bench:
	CGO_ENABLED=0 $(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...

clean:
	rm -rf bin
