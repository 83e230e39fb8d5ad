package server

import (
	"reflect"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// ClientPool decides which clients are served, and with what capacity. Make one
// with [New] and call Start. All methods may be called concurrently; see the
// package documentation for what callbacks may call.
type ClientPool struct {
	cfg  Config
	disk disk

	loadMu sync.Mutex // held while a balance is read and put into the ledger
	saveMu sync.Mutex // held while balances are written or deleted
	scanMu sync.Mutex // held while stored tokens are added up

	stop sync.Once
	busy sync.WaitGroup // timers that are set, and calls that use the store; see begin

	mu struct {
		sync.Mutex
		*core
		state state

		timer     mclock.Timer   // calls tick; nil if none is set
		due       mclock.AbsTime // when it fires
		scanTimer mclock.Timer   // calls addUpTokens, once

		saveAt, cleanAt mclock.AbsTime
		cleanFrom       cleanup

		delivering *event     // the callback that is being made
		delivered  uint64     // number of events that are done with
		progress   *sync.Cond // signalled when they have changed
	}
}

type state int

const (
	made state = iota
	running
	stopped
)

// New makes a pool. It reads the log offsets from the store and starts nothing; an
// error names the field of the configuration that is wrong, or tells that the
// store cannot be read.
func New(cfg Config) (*ClientPool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := new(ClientPool)
	at, err := disk{cfg.Store}.readOffsets()
	if err != nil {
		return nil, err
	}
	p.assemble(cfg, at)
	return p, nil
}

// assemble fills in an empty pool. The configuration has to be complete, but for
// the store.
func (p *ClientPool) assemble(cfg Config, at offsets) {
	p.cfg, p.disk = cfg, disk{cfg.Store}
	now := cfg.Clock.Now()
	ledger := newLedger(cfg.CacheSize)
	ledger.pos = decay{offset: at.pos, since: now}
	ledger.neg = decay{offset: at.neg, since: now}
	ledger.pos.setConstant(now, cfg.TokenLifetime)
	ledger.neg.setConstant(now, cfg.DebtLifetime)
	p.mu.progress = sync.NewCond(&p.mu)
	p.mu.core = &core{
		minCap:  cfg.MinCapacity,
		bias:    cfg.ConnectedBias,
		prices:  prices{cfg.TokenPrices, cfg.DebtPrices},
		metrics: cfg.Metrics,
		clients: make(map[enode.ID]*client),
		market:  newMarket(cfg.MinCapacity, defaultStepDivisor),
		ledger:  ledger,
	}
	p.mu.market.setLimits(cfg.MaxClients, cfg.MaxCapacity)
}

// unusable makes a pool that was stopped before it began.
func unusable(cfg Config) *ClientPool {
	p := new(ClientPool)
	p.assemble(cfg.complete(), offsets{})
	p.mu.state = stopped
	p.stop.Do(func() {})
	return p
}

// Start lets clients in. Later calls do nothing.
func (p *ClientPool) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.state != made {
		return
	}
	p.mu.state = running
	now := p.cfg.Clock.Now()
	p.mu.saveAt, p.mu.cleanAt = now.Add(saveInterval), now.Add(cleanInterval)
	p.setTimerLocked(now, farFuture)
	p.busy.Add(1)
	p.mu.scanTimer = p.cfg.Clock.AfterFunc(0, func() {
		defer p.busy.Done()
		p.addUpTokens()
	})
}

// Stop ends the service: all clients are charged until now, told that they have no
// capacity, and told to disconnect; all balances are stored. When it returns the
// store is not touched any more and no callback is under way. Later calls do
// nothing but wait. It must not be called by callbacks.
func (p *ClientPool) Stop() {
	p.stop.Do(func() {
		p.mu.Lock()
		if p.mu.state == running {
			p.endLocked(p.cfg.Clock.Now())
			for _, timer := range []mclock.Timer{p.mu.timer, p.mu.scanTimer} {
				if timer != nil && timer.Stop() {
					p.busy.Done()
				}
			}
		}
		p.mu.state = stopped
		p.mu.Unlock()
		defer func() { // even if a callback panics
			p.busy.Wait()
			p.save()
		}()
		p.deliver(true)
	})
}

// begin tells whether the store may be used, false if the pool was stopped. Then
// busy.Done has to be called afterwards, and Stop waits for it.
func (p *ClientPool) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.state == stopped {
		return false
	}
	p.busy.Add(1)
	return true
}

// endLocked takes everything from all clients.
func (p *ClientPool) endLocked(now mclock.AbsTime) {
	p.mu.advance(now)
	p.mu.market.setLimits(0, 0)
	p.mu.apply(now)
	for c := p.mu.ages.oldest; c != nil; c = c.newer {
		if !c.gone {
			c.gone = true
			p.mu.stopWaiting(c)
			p.mu.events = append(p.mu.events, event{to: c, disconnect: true})
		}
	}
}

// do runs something on the core and makes the callbacks that follow from it. It
// returns false if the pool is not running. If wait is set it returns after they
// were made, even if somebody else makes them.
func (p *ClientPool) do(wait bool, f func(k *core, now mclock.AbsTime)) bool {
	if !p.doLocked(f) {
		return false
	}
	p.deliver(wait)
	return true
}

func (p *ClientPool) doLocked(f func(k *core, now mclock.AbsTime)) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.state != running {
		return false
	}
	now := p.cfg.Clock.Now()
	f(p.mu.core, now)
	p.setTimerLocked(now, p.mu.wake())
	return true
}

// Register takes in a client that has connected, and returns its balance. When it
// returns, it is decided whether the client is active, and UpdateCapacity was
// called if it is. One that is not waits: with tokens as long as it likes, without
// until its InactiveAllowance is over. Every registered client has to be
// unregistered.
//
// It returns nil if the pool is not running, if another peer with the same node id
// is registered, or if the peer has no node. For a peer that is registered already
// it returns the same balance again.
func (p *ClientPool) Register(peer Peer) ConnectedBalance {
	if isNil(peer) || peer.Node() == nil {
		log.Error("Client without a node cannot be registered")
		return nil
	}
	c := &client{pool: p, peer: peer, id: peer.Node().ID(), allowance: peer.InactiveAllowance()}
	free := peer.FreeClientId()
	if free == "" {
		free = c.id.String()
	}
	if !p.begin() {
		return nil
	}
	held := p.hold(tokenKey(c.id), debtKey(free))
	p.busy.Done()
	c.tokens, c.debt = held[0], held[1]
	var known *client
	if !p.do(true, func(k *core, now mclock.AbsTime) {
		if known = k.clients[c.id]; known == nil {
			k.connect(c, now)
		}
	}) {
		return nil
	}
	if known == nil {
		return c
	}
	p.release(held)
	if !same(known.peer, peer) {
		log.Warn("Client is registered already", "id", c.id)
		return nil
	}
	return known
}

// Unregister forgets a client that has disconnected. When it returns no callback
// reaches the peer any more, but a Disconnect that was under way may still be. It
// may be called by the peer's Disconnect, but not by UpdateCapacity. A peer that is
// not registered is ignored.
func (p *ClientPool) Unregister(peer Peer) {
	if isNil(peer) || peer.Node() == nil {
		return
	}
	c := p.unregister(peer.Node().ID(), peer)
	if c == nil {
		return
	}
	p.deliver(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mu.delivering != nil && p.mu.delivering.to == c && !p.mu.delivering.disconnect {
		p.mu.progress.Wait()
	}
}

// unregister returns the client, nil if there is none.
func (p *ClientPool) unregister(id enode.ID, peer Peer) *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.mu.clients[id]
	if c == nil || !same(c.peer, peer) {
		return nil
	}
	if p.mu.state == running {
		now := p.cfg.Clock.Now()
		p.mu.disconnect(c, now)
		p.setTimerLocked(now, p.mu.wake())
	}
	c.left = true // also while Stop tells everybody
	return c
}

// same tells whether two peers with the same id are one. Values that cannot be
// compared are taken to be.
func same(a, b Peer) bool {
	return !reflect.ValueOf(a).Comparable() || !reflect.ValueOf(b).Comparable() || a == b
}

// SetCapacity asks for another capacity for an active client. It is granted as a
// whole or not at all; the capacity that the client then has is returned. Values
// below the smallest capacity count as that. bias is the handicap of a raise, at
// least the connected bias. requested is passed on to the peer's UpdateCapacity.
// The error is [ErrNotConnected], or [ErrNoPriority] for a client without tokens
// that asks for more than the smallest capacity.
func (p *ClientPool) SetCapacity(node *enode.Node, reqCap uint64, bias time.Duration, requested bool) (capacity uint64, err error) {
	if node == nil {
		return 0, ErrNotConnected
	}
	err = ErrNotConnected
	p.do(false, func(k *core, now mclock.AbsTime) {
		capacity, err = k.setCapacity(node.ID(), capacityRequest{reqCap, bias, requested}, now)
	})
	return capacity, err
}

// SetLimits sets how many clients are served and how much capacity they have in
// all; capacities above 2^62 count as that. It may be called before Start.
func (p *ClientPool) SetLimits(maxCount, maxCap uint64) {
	if !p.do(false, func(k *core, now mclock.AbsTime) { k.setLimits(maxCount, maxCap, now) }) {
		p.early(func(k *core) { k.market.setLimits(maxCount, maxCap) })
	}
}

// SetConnectedBias changes Config.ConnectedBias.
func (p *ClientPool) SetConnectedBias(bias time.Duration) {
	if !p.do(false, func(k *core, now mclock.AbsTime) { k.setBias(bias, now) }) {
		p.early(func(k *core) { k.bias = max(bias, 0) })
	}
}

// SetDefaultFactors sets the prices of clients that connect from now on.
func (p *ClientPool) SetDefaultFactors(posFactors, negFactors PriceFactors) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.prices = prices{posFactors, negFactors}.usable()
}

// early changes a setting of a pool that was not started.
func (p *ClientPool) early(f func(k *core)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.state == made {
		f(p.mu.core)
	}
}
