package server

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/log"

	"github.com/lespool/lespool/udpquery"
)

// This file holds what existing light servers call, as far as it differs from what
// new ones use.

// Server answers queries by UDP. It is what existing servers find in this package.
type Server = udpquery.Server

// Service answers the requests that name it.
type Service = udpquery.Service

// NewServer makes a Server that serves at most one request per delayPerRequest on
// average.
func NewServer(delayPerRequest time.Duration) *Server { return udpquery.NewServer(delayPerRequest) }

// NewClientPool makes a pool as existing servers do; new code calls [New]. Debts
// decay with the default lifetime, all prices are 0 until SetDefaultFactors is
// called, and a nil clock is the system's. What New would refuse is logged and
// replaced: a smallest capacity of 0 by 1, a negative bias by 0. If the database
// is missing or cannot be read the pool is of no use: it takes in nobody.
func NewClientPool(balanceDb ethdb.KeyValueStore, minCap uint64, connectedBias time.Duration, clock mclock.Clock, synced func() bool) *ClientPool {
	cfg := Config{
		Store: balanceDb, MinCapacity: minCap, ConnectedBias: connectedBias, Clock: clock, Synced: synced,
	}
	if minCap == 0 || minCap > maxCapacity {
		log.Error("Smallest capacity of the client pool is out of range", "capacity", minCap)
		cfg.MinCapacity = min(max(minCap, 1), maxCapacity)
	}
	if connectedBias < 0 {
		log.Error("Connected bias of the client pool is negative", "bias", connectedBias)
		cfg.ConnectedBias = 0
	}
	p, err := New(cfg)
	if err != nil {
		log.Error("Client pool cannot be used", "err", err)
		return unusable(cfg)
	}
	p.SetDefaultFactors(PriceFactors{}, PriceFactors{})
	return p
}

// Limits returns the limits of the number of clients and of their capacity.
func (p *ClientPool) Limits() (maxCount, maxCap uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.market.maxCount, p.mu.market.maxCap
}

// Active returns the number of active clients and their capacity.
func (p *ClientPool) Active() (count, capacity uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.market.count, p.mu.market.capacity
}

// Inactive returns the number of clients that are connected but not active.
func (p *ClientPool) Inactive() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.clients) - int(p.mu.market.count)
}

// SetExpirationTCs sets the times in which tokens and debts decay to 1/e, in
// seconds; 0 means that they do not.
func (p *ClientPool) SetExpirationTCs(pos, neg uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Clock.Now()
	p.mu.chargeAll(now)
	p.mu.ledger.pos.setConstant(now, seconds(pos))
	p.mu.ledger.neg.setConstant(now, seconds(neg))
	if p.mu.state == running {
		p.mu.revalueAll(now)
		p.setTimerLocked(now, now) // for the callbacks
	}
}

// GetExpirationTCs returns what SetExpirationTCs has set.
func (p *ClientPool) GetExpirationTCs() (pos, neg uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(p.mu.ledger.pos.constant / time.Second), uint64(p.mu.ledger.neg.constant / time.Second)
}
