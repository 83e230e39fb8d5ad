package server

import (
	"bytes"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Status is what a pool looks like at one moment, in the form of JSON-RPC.
type Status struct {
	MaxClients     uint64         `json:"maxClients"`
	MaxCapacity    uint64         `json:"maxCapacity"`
	ActiveClients  uint64         `json:"activeClients"`
	ActiveCapacity uint64         `json:"activeCapacity"`
	Synced         bool           `json:"synced"`
	Clients        []ClientStatus `json:"clients"` // the most important first
}

// ClientStatus is what a client looks like.
type ClientStatus struct {
	ID        enode.ID `json:"id"`
	FreeID    string   `json:"freeId"`   // what its debt is kept under
	Active    bool     `json:"active"`   // it is served
	Capacity  uint64   `json:"capacity"` // 0 if it is not
	Priority  int64    `json:"priority"` // with that, or with the smallest capacity
	Tokens    uint64   `json:"tokens"`
	Debt      uint64   `json:"debt"`
	Connected float64  `json:"connected"` // seconds since it connected
	Requests  float64  `json:"requests"`  // cost of its requests since

	// Exhausted is in how many seconds its tokens run out if its requests go on as
	// they did on average. Nil if it has none, or if they do not run out.
	Exhausted *float64 `json:"exhausted,omitempty"`
}

// Status returns the state of the pool and of all its clients.
func (p *ClientPool) Status() Status {
	synced := p.cfg.Synced()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Clock.Now()
	s := Status{
		MaxClients: p.mu.market.maxCount, MaxCapacity: p.mu.market.maxCap,
		ActiveClients: p.mu.market.count, ActiveCapacity: p.mu.market.capacity,
		Synced: synced, Clients: make([]ClientStatus, 0, len(p.mu.clients)),
	}
	for c := p.mu.ages.oldest; c != nil; c = c.newer {
		if c.active() {
			p.mu.charge(c, now)
		}
		s.Clients = append(s.Clients, p.mu.statusOf(c, now))
	}
	slices.SortFunc(s.Clients, func(a, b ClientStatus) int {
		switch {
		case a.Active != b.Active && a.Active, a.Active == b.Active && a.Priority > b.Priority:
			return -1
		case a.Active != b.Active, a.Priority < b.Priority:
			return 1
		}
		return bytes.Compare(a.ID[:], b.ID[:])
	})
	return s
}

func (k *core) statusOf(c *client, now mclock.AbsTime) ClientStatus {
	w := k.worthNow(c.tokens, c.debt, c.prices, now)
	s := ClientStatus{
		ID: c.id, FreeID: c.debt.key[len(debtPrefix):], Active: c.capacity > 0, Capacity: c.capacity,
		Priority: w.priority(max(c.capacity, k.minCap)), Tokens: w.pos, Debt: w.neg,
		Connected: now.Sub(c.since).Seconds(), Requests: c.requests,
	}
	if w.pos == 0 {
		return s
	}
	var price float64
	if s.Active {
		price = c.prices.pos.perNs(c.capacity, c.requests/float64(max(now.Sub(c.since), time.Second)))
	}
	if span := duration(timeToFall(float64(w.pos), 0, price, k.ledger.pos.rate)); span != never {
		seconds := span.Seconds()
		s.Exhausted = &seconds
	}
	return s
}

// PrivateServerAPI serves the pool by go-ethereum's rpc package. Registered under
// the namespace "vflux" it is vflux_status().
type PrivateServerAPI struct {
	pool *ClientPool
}

// NewPrivateServerAPI returns the API of a pool.
func NewPrivateServerAPI(pool *ClientPool) *PrivateServerAPI { return &PrivateServerAPI{pool} }

// Status returns the state of the pool; see [ClientPool.Status].
func (api *PrivateServerAPI) Status() Status { return api.pool.Status() }
