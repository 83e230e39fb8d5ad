# Every target runs steps of .ci/run, which holds the commands themselves.

.PHONY: usage test race fuzz lint bench sim fork crash model example ci

usage:
	@echo 'make test     all tests'
	@echo 'make race     the concurrent packages under the race detector'
	@echo 'make fuzz     every fuzz function for FUZZTIME each (default 5s)'
	@echo 'make lint     gofmt, go vet on several platforms, staticcheck'
	@echo 'make bench    nodestate and lespay/server beside their predecessors, as tables (about fifteen minutes)'
	@echo 'make sim      the pool beside its predecessor in simulated networks, as tables (about a quarter of an hour)'
	@echo 'make fork     a copy of the library for a fork of go-ethereum: see the first lines of internal/fork/main.go'
	@echo 'make crash    a process that writes node states is killed 50 times'
	@echo 'make model    node states against their model, more than a million steps'
	@echo 'make example  a light client on a real network of loopback servers'
	@echo 'make ci       what the CI runs, all of it'

test race fuzz lint bench sim fork crash model example:
	@.ci/run $@

ci:
	@.ci/run
