package serverpool

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// This file holds what existing light clients call.

// QueryFunc asks a server whether it has room: 1 yes, 0 no, -1 no answer.
// Anything else counts as no answer and is logged once. A 1 for a node whose
// record offers no capacity queries promises nothing.
type QueryFunc func(*enode.Node) int

// NewServerPool makes a pool the way existing light clients do; new code calls
// [New]. db is a key-value store of any go-ethereum version, dbKey stands
// before the keys in it, a nil query means no pre-negotiation. mixTimeout is
// accepted but has no effect, since no source waits for another. What New
// would refuse is logged and replaced: a nil db by memory, a nil clock by the
// system's, bad amounts and values by 1, an empty request list by one type; of
// requests with equal names the first counts.
func NewServerPool(db Store, dbKey []byte, mixTimeout time.Duration, query QueryFunc, clock mclock.Clock, trustedURLs []string, requestList []RequestInfo) (*ServerPool, enode.Iterator) {
	config := Config{
		Requests: usableRequests(requestList),
		DBKey:    dbKey,
		Trusted:  trustedURLs,
		Clock:    clock,
	}
	if isNil(db) {
		log.Error("Server pool has no database, nothing will be remembered")
	} else {
		config.Store = db
	}
	if query != nil {
		config.Query = query.ask()
	}
	p := newWhatever(config)
	return p, p.Iterator()
}

// newWhatever makes a pool of as much of a configuration as can be used.
func newWhatever(config Config) *ServerPool {
	equal := slices.Clone(config.Requests)
	for i := range equal {
		equal[i].InitAmount, equal[i].InitValue = 1, 1
	}
	memoryOnly, equalOnly := config, config
	memoryOnly.Store, equalOnly.Requests = nil, equal
	p, err := New(config)
	if err == nil {
		return p
	}
	if p, e := New(equalOnly); e == nil {
		log.Error("Request types have bad amounts or values, all count the same", "err", err)
		return p
	}
	log.Error("Server pool works without its database", "err", err)
	if p, err = New(memoryOnly); err != nil {
		memoryOnly.Requests = equal
		p, _ = New(memoryOnly) // nothing is left that could fail
	}
	return p
}

// ask makes a Query of the function.
func (query QueryFunc) ask() func(context.Context, *enode.Node) Answer {
	var warn sync.Once
	return func(_ context.Context, n *enode.Node) Answer {
		switch answer := query(n); {
		case answer == 1 && !takesQueries(n):
			return Unasked
		case answer == 1:
			return Yes
		case answer == 0:
			return No
		case answer != -1:
			warn.Do(func() { log.Error("Query function returned an undefined value", "value", answer) })
		}
		return Silent
	}
}

// takesQueries tells whether a node's record says that it answers capacity
// queries: the entry "les" is a list that begins with a version of at least 1.
func takesQueries(n *enode.Node) bool {
	var entry lesEntry
	return n.Load(&entry) == nil && len(entry) > 0 && entry.version() >= 1
}

type lesEntry []rlp.RawValue

func (lesEntry) ENRKey() string { return "les" }

func (e lesEntry) version() (v uint64) {
	if rlp.DecodeBytes(e[0], &v) != nil {
		return 0
	}
	return v
}

// usableRequests mends a request list.
func usableRequests(list []RequestInfo) []RequestInfo {
	names := make(map[string]bool)
	var usable []RequestInfo
	zero := true
	for i, r := range list {
		for names[r.Name] {
			log.Error("Request type is listed twice", "name", r.Name)
			r.Name = fmt.Sprintf("%s (%d)", r.Name, i)
		}
		names[r.Name] = true
		for _, v := range []*float64{&r.InitAmount, &r.InitValue} {
			if !(*v >= 0) || math.IsInf(*v, 0) {
				log.Error("Request type has a bad amount or value", "name", r.Name, "value", *v)
				*v = 1
			}
		}
		zero = zero && r.InitAmount*r.InitValue == 0
		usable = append(usable, r)
	}
	if zero {
		if len(usable) == 0 {
			log.Error("Server pool has no request types")
			usable = []RequestInfo{{Name: "any"}}
		}
		for i := range usable {
			usable[i].InitAmount, usable[i].InitValue = 1, 1
		}
	}
	return usable
}

// AddMetrics has the pool show the recommended timeout (in ms), the total
// service value, the numbers of servers that may be tried and that are
// connected, and count session values and dials. Nil is skipped. It has to be
// called before Start.
func (p *ServerPool) AddMetrics(suggestedTimeoutGauge, totalValueGauge, serverSelectableGauge, serverConnectedGauge Gauge, sessionValueMeter, serverDialedMeter Meter) {
	p.registerMu.Lock()
	defer p.registerMu.Unlock()
	if p.isStarted() {
		p.log.Error("AddMetrics after Start has no effect")
		return
	}
	if p.stopping.Load() {
		return
	}
	p.ns.AddLogMetrics(p.st.hasValue, p.st.inDialProcess, "selectable", nil, nil, serverSelectableGauge)
	p.ns.AddLogMetrics(p.st.connected, none, "connected", nil, nil, serverConnectedGauge)
	p.ns.AddLogMetrics(p.st.dialed, none, "dialed", serverDialedMeter, nil, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.metrics = metrics{}
	if !isNil(suggestedTimeoutGauge) {
		p.mu.metrics.suggestedTimeout = suggestedTimeoutGauge
	}
	if !isNil(totalValueGauge) {
		p.mu.metrics.totalValue = totalValueGauge
	}
	if !isNil(sessionValueMeter) {
		p.mu.metrics.sessionValueMeter = sessionValueMeter
	}
}
