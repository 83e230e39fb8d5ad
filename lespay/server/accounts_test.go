package server

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func TestDebtsFadeByDefault(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DebtLifetime = 0 })
	_, neg := w.GetExpirationTCs()
	require.EqualValues(t, 3600, neg)
	w.owe(1, 1e12)
	w.clock.Run(time.Hour)
	_, debt := w.balanceOf(1)
	require.InEpsilon(t, 1e12/2.718281828, float64(debt), 1e-3)

	p := NewClientPool(testutil.NewFaultyStore(), 100, 0, w.clock, nil)
	_, neg = p.GetExpirationTCs()
	require.EqualValues(t, 3600, neg)
	p.SetExpirationTCs(7200, 0)
	pos, neg := p.GetExpirationTCs()
	require.EqualValues(t, 7200, pos)
	require.Zero(t, neg)
}

func TestSmallDepositIsKept(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, 1000)
	pos, _ := w.balanceOf(1)
	require.EqualValues(t, 1000, pos)
	w = w.reopen(true, nil)
	w.clock.Run(24 * time.Hour)
	pos, _ = w.balanceOf(1)
	require.EqualValues(t, 1000, pos)
	require.EqualValues(t, 1000, w.TotalTokenAmount())
}

func TestSetBalanceRefuses(t *testing.T) {
	w := newWorld(t, nil)
	w.BalanceOperation(nodeID(1), address(1), func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(5, 6))
		require.ErrorIs(t, b.SetBalance(1<<63, 0), ErrBalanceOverflow)
		require.ErrorIs(t, b.SetBalance(0, 1<<63+5), ErrBalanceOverflow)
		pos, neg := b.GetBalance()
		require.EqualValues(t, 5, pos)
		require.EqualValues(t, 6, neg)
		before, after, err := b.AddBalance(maxBalance)
		require.ErrorIs(t, err, ErrBalanceOverflow)
		require.EqualValues(t, 5, before)
		require.EqualValues(t, 5, after)
		_, after, err = b.AddBalance(-10)
		require.NoError(t, err)
		require.Zero(t, after)
	})
}

func TestNoAddressNoDebt(t *testing.T) {
	w := newWorld(t, nil)
	w.BalanceOperation(nodeID(1), "", func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(7, 0))
		require.ErrorIs(t, b.SetBalance(7, 1e12), ErrNoAddress)
		pos, neg := b.GetRawBalance()
		require.EqualValues(t, 7, pos.Base)
		require.True(t, neg.IsZero())
	})
	has, err := w.store.Database.Has([]byte(debtPrefix))
	require.NoError(t, err)
	require.False(t, has)
}

// iterators counts those that are open.
type iterators struct {
	*testutil.FaultyStore
	open int
}

type openIterator struct {
	ethdb.Iterator
	of *iterators
}

func (s *iterators) NewIterator(prefix, start []byte) ethdb.Iterator {
	s.open++
	return &openIterator{s.FaultyStore.NewIterator(prefix, start), s}
}

func (it *openIterator) Release() {
	it.of.open--
	it.Iterator.Release()
}

func TestIteratorsAreReleased(t *testing.T) {
	store := &iterators{FaultyStore: testutil.NewFaultyStore()}
	w := newWorld(t, func(c *Config) { c.Store = store })
	for i := range 20 {
		w.pay(i, hour)
		w.owe(i, 5e6)
	}
	w.clock.Run(24 * time.Hour)
	require.Len(t, w.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 7), 7)
	require.EqualValues(t, 20*hour, w.TotalTokenAmount())
	require.Zero(t, store.open)
}

// removals is a store that calls before, once, when something is about to be removed.
type removals struct {
	*testutil.FaultyStore
	before func()
}

func (s *removals) NewBatch() ethdb.Batch { return &removal{Batch: s.FaultyStore.NewBatch(), of: s} }

type removal struct {
	ethdb.Batch
	of      *removals
	removes bool
}

func (b *removal) Delete(key []byte) error {
	b.removes = true
	return b.Batch.Delete(key)
}

func (b *removal) Write() error {
	if before := b.of.before; b.removes && before != nil {
		b.of.before = nil
		before()
	}
	return b.Batch.Write()
}

// A payment to an account that is just being removed is there afterwards. It has to
// wait for the removal; if it could be written before, the test lets it.
func TestDepositDuringCleanup(t *testing.T) {
	minute := func(c *Config) { c.TokenLifetime = time.Minute; c.CacheSize = 1 }
	store := &removals{FaultyStore: testutil.NewFaultyStore()}
	w := newWorldOn(t, store.FaultyStore, func(c *Config) { minute(c); c.Store = store })
	w.pay(0, 100)
	w.pay(1, 100)
	w.clock.Run(5*time.Minute + 30*time.Second) // nothing is left since a minute
	has := func() bool {
		has, err := store.Has([]byte(tokenKey(nodeID(0))))
		require.NoError(t, err)
		return has
	}
	paid, stored := make(chan struct{}), make(chan struct{})
	store.before = func() {
		require.True(t, has())
		canBeWritten := w.saveMu.TryLock()
		if canBeWritten {
			w.saveMu.Unlock()
		}
		go func() {
			defer close(stored)
			w.BalanceOperation(nodeID(0), "", func(b AtomicBalanceOperator) {
				_, _, err := b.AddBalance(hour)
				require.NoError(t, err)
				close(paid)
			})
		}()
		<-paid
		if canBeWritten {
			<-stored
		}
	}
	w.cleanUp()
	w.cleanUp() // of debts, and of tokens
	<-stored
	require.True(t, has())
	crashed := w.reopen(true, minute)
	pos, _ := crashed.balanceOf(0)
	mine, _ := w.balanceOf(0)
	require.InDelta(t, float64(mine), float64(pos), 1)
	require.NotZero(t, pos)
}
