package server

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"

	"github.com/lespool/lespool/lespay"
)

// Config holds the parameters of a pool. Store and MinCapacity have to be given.
type Config struct {
	// Store keeps the balances. The pool does not close it. It has no default.
	Store Store
	// CacheSize is how many balances of clients that are not connected are kept
	// in memory, some 200 bytes each. More save reads, two of which a capacity
	// query by a stranger costs. Default (0): 8192.
	CacheSize int

	// MinCapacity is the smallest capacity that a client is served with, in units
	// of request cost per second; from 1 to 2^62. It has no default.
	MinCapacity uint64
	// MaxClients and MaxCapacity are the limits at the start; see SetLimits.
	// Default (0): nobody is served.
	MaxClients, MaxCapacity uint64
	// ConnectedBias is how long an outsider has to be able to pay for, and still
	// be worth more than the client whose place it takes. Larger, clients stay for
	// longer once they are in, and priority counts less. Default (0): none; light
	// servers use 3 minutes. Not negative.
	ConnectedBias time.Duration

	// TokenPrices and DebtPrices are the price factors of clients that connect;
	// see SetDefaultFactors. Default (all 0): capacity and request factor 1, time
	// factor 0. Factors are finite and not negative.
	TokenPrices, DebtPrices PriceFactors
	// TokenLifetime is the time in which tokens decay to 1/e. Default (0): they
	// do not. Not negative.
	TokenLifetime time.Duration
	// DebtLifetime is the time in which debts decay to 1/e. Longer, a free client
	// that was served has to stay behind others for longer. Default (0): 1 hour.
	// Negative: they do not decay.
	DebtLifetime time.Duration

	// Synced tells whether the server can serve. While it cannot, all capacity
	// queries are answered by 0. It must not block. Default nil: always.
	Synced func() bool
	// Metrics are told what the pool does. Default: none.
	Metrics Metrics
	// Clock drives charges, timeouts and saves. Default nil: mclock.System.
	Clock mclock.Clock
}

// Store is what a pool needs of a database: reads, writes in batches, and scans.
// Every key-value store of go-ethereum fits.
type Store = lespay.Store

const (
	defaultCacheSize    = 8192
	defaultDebtLifetime = time.Hour
)

// withDefaults returns a copy of the configuration that is valid and complete.
func (c Config) withDefaults() (Config, error) {
	if err := c.validate(); err != nil {
		return c, err
	}
	return c.complete(), nil
}

func (c Config) complete() Config {
	if isNil(c.Clock) {
		c.Clock = mclock.System{}
	}
	if c.Synced == nil {
		c.Synced = func() bool { return true }
	}
	if c.CacheSize == 0 {
		c.CacheSize = defaultCacheSize
	}
	if c.DebtLifetime == 0 {
		c.DebtLifetime = defaultDebtLifetime
	}
	if c.TokenPrices == (PriceFactors{}) {
		c.TokenPrices = defaultPrices.pos
	}
	if c.DebtPrices == (PriceFactors{}) {
		c.DebtPrices = defaultPrices.neg
	}
	c.Metrics = c.Metrics.withDefaults()
	return c
}

func (c *Config) validate() error {
	switch {
	case isNil(c.Store):
		return errors.New("server: Config.Store is nil")
	case c.MinCapacity == 0 || c.MinCapacity > maxCapacity:
		return fmt.Errorf("server: Config.MinCapacity is %d, not in [1, 2^62]", c.MinCapacity)
	case c.CacheSize < 0:
		return fmt.Errorf("server: Config.CacheSize is %d, below 0", c.CacheSize)
	case c.ConnectedBias < 0:
		return fmt.Errorf("server: Config.ConnectedBias is %v, below 0", c.ConnectedBias)
	case c.TokenLifetime < 0:
		return fmt.Errorf("server: Config.TokenLifetime is %v, below 0", c.TokenLifetime)
	case c.TokenPrices != c.TokenPrices.usable():
		return fmt.Errorf("server: Config.TokenPrices is %v, not finite and ≥ 0", c.TokenPrices)
	case c.DebtPrices != c.DebtPrices.usable():
		return fmt.Errorf("server: Config.DebtPrices is %v, not finite and ≥ 0", c.DebtPrices)
	}
	return nil
}

// isNil tells whether v is nil or holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}

// Errors of the pool's methods.
var (
	ErrNotConnected    = errors.New("client not connected")
	ErrNoPriority      = errors.New("priority too low to raise capacity")
	ErrBalanceOverflow = errors.New("balance overflow")
	ErrNoAddress       = errors.New("debt of an unknown address")
	ErrOperationOver   = errors.New("balance operation is over")
	ErrUnreadable      = errors.New("balance cannot be read")
	// ErrCantFindMaximum is not returned any more, as what is granted is what was
	// found to be possible. Existing servers name it.
	ErrCantFindMaximum = errors.New("unable to find maximum allowed capacity")
)
