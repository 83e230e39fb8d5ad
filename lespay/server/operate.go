package server

import (
	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay"
)

// ReadOnlyBalance is what can be seen of a client's balances.
type ReadOnlyBalance interface {
	// GetBalance returns tokens and debt.
	GetBalance() (pos, neg uint64)
	// GetRawBalance returns them as they are stored.
	GetRawBalance() (pos, neg lespay.ExpiredValue)
	// GetPriceFactors returns the prices for who has tokens, and for who has none.
	GetPriceFactors() (posFactor, negFactor PriceFactors)

	sealed() // other packages have no business implementing it
}

// ConnectedBalance is the balance of a connected client. All methods may be called
// concurrently, and by callbacks; none makes callbacks itself. After Unregister it
// shows what was left, and charges nothing.
type ConnectedBalance interface {
	ReadOnlyBalance
	// SetPriceFactors changes the client's prices from now on.
	SetPriceFactors(posFactor, negFactor PriceFactors)
	// RequestServed charges for a request and returns the tokens that are left.
	RequestServed(cost uint64) (pos uint64)
}

// AtomicBalanceOperator changes a balance inside of [ClientPool.BalanceOperation].
type AtomicBalanceOperator interface {
	ReadOnlyBalance
	// AddBalance adds tokens, or removes them as far as there are any. It returns
	// the tokens before and after. The error is ErrBalanceOverflow if there would
	// be more than 2^63-1, and ErrUnreadable if the store can't tell what there is;
	// then nothing changes.
	AddBalance(amount int64) (before, after uint64, err error)
	// SetBalance sets tokens and debt. Above 2^63-1 the error is
	// ErrBalanceOverflow, for debt without an address ErrNoAddress, if the store
	// can't tell what there is ErrUnreadable, and nothing changes.
	SetBalance(pos, neg uint64) error
}

var (
	_ ConnectedBalance      = (*client)(nil)
	_ AtomicBalanceOperator = (*operator)(nil)
)

func (c *client) sealed() {}

// GetBalance implements ReadOnlyBalance.
func (c *client) GetBalance() (pos, neg uint64) {
	k, now := c.lockCharged()
	defer c.pool.mu.Unlock()
	w := k.worthNow(c.tokens, c.debt, c.prices, now)
	return w.pos, w.neg
}

// GetRawBalance implements ReadOnlyBalance.
func (c *client) GetRawBalance() (pos, neg lespay.ExpiredValue) {
	c.lockCharged()
	defer c.pool.mu.Unlock()
	return c.tokens.ExpiredValue, c.debt.ExpiredValue
}

// GetPriceFactors implements ReadOnlyBalance.
func (c *client) GetPriceFactors() (posFactor, negFactor PriceFactors) {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	return c.prices.pos, c.prices.neg
}

// SetPriceFactors implements ConnectedBalance.
func (c *client) SetPriceFactors(posFactor, negFactor PriceFactors) {
	k, now := c.lockCharged()
	defer c.pool.mu.Unlock()
	c.prices = prices{posFactor, negFactor}.usable()
	if c.active() {
		k.reconsider(c, now)
		c.pool.setTimerLocked(now, now) // for the callbacks
	}
}

// RequestServed implements ConnectedBalance.
func (c *client) RequestServed(cost uint64) uint64 {
	k, now := c.lockCharged()
	defer c.pool.mu.Unlock()
	if !c.active() {
		return c.tokens.amount(k.ledger.at(now).pos)
	}
	left := k.serve(c, cost, now)
	at := k.wake()
	if len(k.events) > 0 {
		at = now
	}
	c.pool.setTimerLocked(now, at)
	return left
}

// active tells whether the client takes part; the lock is held.
func (c *client) active() bool { return !c.left && c.pool.mu.state == running }

// lockCharged takes the lock and charges the client until now.
func (c *client) lockCharged() (k *core, now mclock.AbsTime) {
	c.pool.mu.Lock()
	k, now = c.pool.mu.core, c.pool.cfg.Clock.Now()
	if c.active() {
		k.charge(c, now)
	}
	return k, now
}

// BalanceOperation calls cb with the balance of any client, connected or not, and
// nothing else happens to the pool meanwhile: cb must not call methods of the pool
// or of a ConnectedBalance, nor keep the operator. When BalanceOperation returns,
// changes of the balance are stored. If the store refuses them that is logged, and
// tried again every few minutes.
//
// For a client that is connected connAddress is ignored. For others it is the free
// client id whose debt is meant; without one the debt reads 0 and cannot be set.
// After Stop cb is not called.
func (p *ClientPool) BalanceOperation(id enode.ID, connAddress string, cb func(AtomicBalanceOperator)) {
	keys := []string{tokenKey(id)}
	if connAddress != "" {
		keys = append(keys, debtKey(connAddress))
	}
	if !p.begin() {
		log.Error("Balance operation after the end of the pool", "id", id)
		return
	}
	defer p.busy.Done()
	held := p.hold(keys...)
	defer p.release(held)
	p.readMissing()
	op := &operator{tokens: held[0], debt: &record{key: debtPrefix}}
	if connAddress != "" {
		op.debt, op.hasDebt = held[1], true
	}
	if p.operate(id, op, cb) {
		p.saveSome([]*record{op.tokens, op.debt})
	}
}

// operate runs cb and tells whether something has changed. The lock is released
// even if cb panics.
func (p *ClientPool) operate(id enode.ID, op *operator, cb func(AtomicBalanceOperator)) bool {
	defer p.deliver(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	k, now := p.mu.core, p.cfg.Clock.Now()
	op.core, op.now, op.prices = k, now, k.prices
	if p.mu.state == running {
		k.prepare(now)
		defer func() { p.setTimerLocked(now, k.wake()) }()
	}
	c := k.clients[id]
	if c != nil {
		k.charge(c, now)
		op.tokens, op.debt, op.hasDebt, op.prices = c.tokens, c.debt, true, c.prices
	}
	cb(op)
	op.core = nil
	if c != nil && p.mu.state == running {
		k.reconsider(c, now)
	}
	return op.changed
}

// operator is an AtomicBalanceOperator. It is used with the pool's lock held.
type operator struct {
	core         *core // nil when the operation is over
	now          mclock.AbsTime
	tokens, debt *record
	hasDebt      bool // debt belongs to an address
	prices       prices
	changed      bool
}

func (o *operator) sealed() {}

// GetBalance implements ReadOnlyBalance.
func (o *operator) GetBalance() (pos, neg uint64) {
	if o.core == nil {
		return 0, 0
	}
	w := o.core.worthNow(o.tokens, o.debt, o.prices, o.now)
	return w.pos, w.neg
}

// GetRawBalance implements ReadOnlyBalance.
func (o *operator) GetRawBalance() (pos, neg lespay.ExpiredValue) {
	return o.tokens.ExpiredValue, o.debt.ExpiredValue
}

// GetPriceFactors implements ReadOnlyBalance.
func (o *operator) GetPriceFactors() (posFactor, negFactor PriceFactors) {
	return o.prices.pos, o.prices.neg
}

// AddBalance implements AtomicBalanceOperator.
func (o *operator) AddBalance(amount int64) (before, after uint64, err error) {
	before, _ = o.GetBalance()
	switch {
	case o.core == nil:
		return 0, 0, ErrOperationOver
	case o.tokens.unread:
		return 0, 0, ErrUnreadable
	case amount > 0 && before > maxBalance-uint64(amount):
		return before, before, ErrBalanceOverflow
	}
	raw := o.tokens.ExpiredValue
	o.tokens.Add(amount, o.core.ledger.at(o.now).pos)
	o.note(o.tokens, raw)
	after, _ = o.GetBalance()
	return before, after, nil
}

// SetBalance implements AtomicBalanceOperator.
func (o *operator) SetBalance(pos, neg uint64) error {
	switch {
	case o.core == nil:
		return ErrOperationOver
	case pos > maxBalance || neg > maxBalance:
		return ErrBalanceOverflow
	case neg > 0 && !o.hasDebt:
		return ErrNoAddress
	case o.tokens.unread || o.debt.unread:
		return ErrUnreadable
	}
	at := o.core.ledger.at(o.now)
	tokens, debt := o.tokens.ExpiredValue, o.debt.ExpiredValue
	o.tokens.clear()
	o.tokens.Add(int64(pos), at.pos)
	o.note(o.tokens, tokens)
	if o.hasDebt {
		o.debt.clear()
		o.debt.Add(int64(neg), at.neg)
		o.note(o.debt, debt)
	}
	return nil
}

func (o *operator) note(r *record, before lespay.ExpiredValue) {
	o.changed = o.changed || r.ExpiredValue != before
	o.core.ledger.changed(r, before)
}
