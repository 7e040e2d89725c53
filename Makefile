# Needs Go, and for all that touches a database the binaries of Postgres 15 or
# later. Only check reaches for the network, to get the linter once.

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := .bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

PKG ?= ./...
BENCH ?= .
EVENTS ?= 2000000
FAULTS ?= 200

# The race detector needs cgo, and that a C compiler.
race = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && command -v $$(go env CC) >/dev/null && echo -race)
count = $(if $(COUNT),-count=$(COUNT))

.PHONY: help
help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## run the demo; ARGS='--listen 127.0.0.1:9000 --traffic 2'
	go run ./cmd/outcrier demo $(ARGS)

.PHONY: build
build: ## build bin/outcrier
	go build -o bin/outcrier ./cmd/outcrier

.PHONY: test
test: ## run the tests, under the race detector where it can be; PKG=./sse COUNT=1 ARGS='-run Drain'
	go test $(race) -timeout 20m $(count) $(ARGS) $(PKG)

.PHONY: check
check: $(GOLANGCI_LINT) ## format, vet, lint, and a tidy go.mod
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "not formatted by gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(GOLANGCI_LINT) run ./...
	go mod tidy -diff

.PHONY: bench
bench: ## run the benchmarks; PKG=./sse BENCH=Fan COUNT=10
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(count) $(PKG)

.PHONY: torture
torture: faults ## every fault, and long histories against a Postgres that is killed; EVENTS=2000000 FAULTS=200
	TORTURE_EVENTS=$(EVENTS) go test -run TestTorture -count=1 -timeout 4h -v ./internal/torture

.PHONY: faults
faults: ## every fault, FAULTS=200 more at random, and what they cost into docs/reliability.md
	TORTURE_FAULTS=$(FAULTS) TORTURE_REPORT=$(CURDIR)/docs/reliability.md go test -run 'TestFault|TestDeploy|TestDrain|TestStandby|TestHostile' -count=1 -timeout 4h -v ./internal/torture

.PHONY: mutants
mutants: ## break the code on purpose, and see that the torture notices
	go test -tags mutants -run TestMutants -count=1 -timeout 60m -v ./internal/torture

# The version is in the name, so that a new one is a new target.
$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/.bin/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .bin/new/golangci-lint $@
	rmdir .bin/new
