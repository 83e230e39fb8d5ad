package server

import (
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopEndsAllClients(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 2 })
	w.pay(2, hour)
	free, payer := w.connect(1), w.connect(2)
	waiting := w.newPeer(3)
	waiting.allowance = time.Hour
	waiting.register()
	w.clock.Run(10 * time.Minute)
	w.Stop()
	require.Equal(t, []string{"100", "0", "disconnect"}, free.calls)
	require.Equal(t, []string{"100", "0", "disconnect"}, payer.calls)
	require.Equal(t, []string{"disconnect"}, waiting.calls[len(waiting.calls)-1:])
	pos, _ := payer.balance.GetBalance()
	require.EqualValues(t, 50*time.Minute, pos, "charged until the stop")
	require.Zero(t, w.clock.Timers())

	// Whatever comes later does nothing, and says so.
	batches := w.store.Count("batch")
	w.Stop()
	w.Start()
	require.True(t, w.Register(w.newPeer(4)) == nil, "not a nil pointer in an interface")
	w.Unregister(free)
	_, err := payer.set(500)
	require.ErrorIs(t, err, ErrNotConnected)
	require.Nil(t, w.ask(5, 180, 0))
	require.EqualValues(t, 50*time.Minute, payer.balance.RequestServed(1000))
	payer.balance.SetPriceFactors(PriceFactors{}, PriceFactors{})
	w.BalanceOperation(nodeID(1), "", func(AtomicBalanceOperator) { t.Error("called") })
	require.Empty(t, w.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 10))
	w.SetLimits(100, 10000)
	w.SetConnectedBias(time.Hour)
	w.SetExpirationTCs(1, 1)
	require.EqualValues(t, 50*time.Minute, w.TotalTokenAmount())
	w.clock.Run(24 * time.Hour)
	require.Equal(t, batches, w.store.Count("batch"), "the store is left alone")
}

func TestBeforeStart(t *testing.T) {
	store := testutil.NewFaultyStore()
	clock := new(testutil.Clock)
	p, err := New(Config{Store: store, MinCapacity: 100, Clock: clock})
	require.NoError(t, err)
	p.SetLimits(1, 100)
	p.SetConnectedBias(time.Second)
	p.SetDefaultFactors(perNs, perNs)
	w := &world{ClientPool: p, t: t, clock: clock, store: store}
	require.True(t, p.Register(w.newPeer(1)) == nil)
	w.pay(1, hour)
	p.Start()
	p.Start()
	require.EqualValues(t, 100, w.connect(1).capacity)
	p.Stop()

	unstarted, err := New(Config{Store: store, MinCapacity: 100, Clock: clock})
	require.NoError(t, err)
	unstarted.Stop()
	unstarted.Start()
	require.Zero(t, clock.Timers())
}

func TestRegisterTwice(t *testing.T) {
	w := newWorld(t, nil)
	p := w.connect(1)
	require.Same(t, p.balance, w.Register(p), "the same object is no second client")
	require.Equal(t, []string{"100"}, p.calls)
	other := w.newPeer(1)
	require.True(t, w.Register(other) == nil)
	w.Unregister(other)
	w.requireConsistent()
	p.leave()
	p.leave()
	w.requireConsistent()
	require.Zero(t, len(w.mu.ledger.used), "nothing is held")
	require.True(t, w.Register(nil) == nil)
	require.True(t, w.Register((*peer)(nil)) == nil)
	w.Unregister(nil)
	require.True(t, w.Register(&peer{w: w}) == nil, "no node")
	w.Unregister(&peer{w: w})
}

// Two clients behind one address have one debt, to which both add, and which is
// stored as one.
func TestDebtIsShared(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.newPeer(1), w.newPeer(2)
	b.free = a.free
	a.register()
	b.register()
	w.clock.Run(time.Minute)
	_, first := a.balance.GetBalance()
	_, second := b.balance.GetBalance()
	require.InDelta(t, 2*float64(time.Minute), float64(max(first, second)), 2)
	a.leave()
	b.leave()
	w = w.reopen(false, nil)
	_, neg := w.balanceOf(1)
	require.EqualValues(t, 2*time.Minute, neg)
}

func TestLocalClientsHaveDebtsOfTheirOwn(t *testing.T) {
	w := newWorld(t, nil)
	p := w.newPeer(1)
	p.free = ""
	p.register()
	w.clock.Run(time.Minute)
	p.leave()
	w.BalanceOperation(nodeID(1), nodeID(1).String(), func(b AtomicBalanceOperator) {
		_, neg := b.GetBalance()
		require.EqualValues(t, time.Minute, neg)
	})
}

// A callback may use the pool as far as it does not wait for callbacks.
func TestCallbacksMayCallThePool(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 1 })
	p := w.newPeer(1)
	p.onUpdate = func() {
		if p.balance != nil {
			p.balance.RequestServed(1)
		}
		w.SetLimits(1, 1000)
		w.Status()
		_, err := p.set(100)
		require.NoError(t, err)
	}
	p.onDisconnect = func() { w.Unregister(p) }
	p.register()
	w.pay(2, hour)
	w.connect(2)
	w.clock.Run(1)
	require.Equal(t, []string{"100", "0", "disconnect"}, p.calls)
	require.Zero(t, w.Inactive())
}

// No callback reaches a peer after Unregister, though it was decided on before; and
// Unregister waits for one that is being made.
func TestNoCallbackAfterUnregister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		slow, other, third := w.connect(1), w.connect(2), w.connect(3)
		proceed, ended, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
		slow.onUpdate = func() { <-proceed }
		go func() {
			defer close(ended)
			w.SetLimits(0, 0) // the first to hear of it is who came last
		}()
		synctest.Wait()
		require.Equal(t, []string{"100", "0"}, third.calls)
		require.Equal(t, []string{"100", "0"}, other.calls)
		w.SetLimits(10, 1000)
		require.Equal(t, []string{"100", "0"}, other.calls, "waits its turn")
		other.leave()
		go func() {
			defer close(left)
			w.Unregister(slow)
		}()
		synctest.Wait()
		select {
		case <-left:
			t.Error("Unregister did not wait")
		default:
		}
		close(proceed)
		<-left
		<-ended
		require.Equal(t, []string{"100", "0"}, other.calls)
		require.Equal(t, []string{"100", "0"}, slow.calls)
	})
}

// While Stop tells everybody, who leaves is not told any more.
func TestUnregisterDuringStop(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.connect(1), w.connect(2)
	a.onDisconnect = func() { w.Unregister(b); b.left = true }
	b.onDisconnect = func() { w.Unregister(a); a.left = true }
	w.Stop()
	require.Equal(t, 1, a.disconnected+b.disconnected)
}

// slowReads is a store whose reads wait for a channel to be closed.
type slowReads struct {
	*testutil.FaultyStore
	proceed chan struct{}
}

func (s *slowReads) Get(key []byte) ([]byte, error) {
	<-s.proceed
	return s.FaultyStore.Get(key)
}

// Stop waits for whoever uses the store, and what is deposited meanwhile is there.
func TestStopWaitsForOperations(t *testing.T) {
	for _, operation := range []func(*world){
		func(w *world) { w.pay(1, 5) },
		func(w *world) { w.ask(1, 0, 0) },
		func(w *world) { w.Register(w.newPeer(1)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			store := &slowReads{w.store, make(chan struct{})}
			w.disk.db = store
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				operation(w)
			}()
			synctest.Wait()
			go func() {
				defer close(ended)
				w.Stop()
			}()
			synctest.Wait()
			select {
			case <-ended:
				t.Error("Stop did not wait")
			default:
			}
			close(store.proceed)
			<-done
			<-ended
		})
	}
}

// Two who need a balance at once read it once, and have the same.
func TestBalanceIsReadOnce(t *testing.T) {
	w := newWorld(t, nil)
	reads := w.store.Count("get")
	w.loadMu.Lock()
	held := make(chan []*record)
	for range 2 {
		go func() { held <- w.hold(tokenKey(nodeID(1))) }()
	}
	w.loadMu.Unlock()
	first, second := <-held, <-held
	require.Same(t, first[0], second[0])
	require.Equal(t, 2, first[0].holders)
	require.Equal(t, reads+1, w.store.Count("get"))
	w.release(first)
	w.release(second)

	// Who waited for the reading finds it in memory.
	first[0] = w.load(tokenKey(nodeID(1)))
	require.Same(t, first[0], second[0])
	w.release(first)
}

// A callback that panics does not leave those stuck who wait for later ones.
func TestDeliveryGoesOnAfterPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		p := w.connect(1)
		proceed := make(chan struct{})
		p.onUpdate = func() { <-proceed; panic("on purpose") }
		go func() {
			defer func() { _ = recover() }()
			w.SetLimits(0, 0)
		}()
		synctest.Wait()
		w.SetLimits(10, 1000)
		done := make(chan struct{})
		go func() {
			defer close(done)
			require.EqualValues(t, 100, w.connect(2).capacity)
		}()
		synctest.Wait()
		p.onUpdate = nil
		close(proceed)
		<-done
	})
}

type panics struct{}

func (panics) Mark(int64) { panic("on purpose") }

// A callback that panics, a balance operation or a metric that does, leave the pool
// usable.
func TestPanicsLeaveThePoolUsable(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Metrics.QueryZero, c.Metrics.Disconnected = panics{}, panics{} })
	leaving := w.connect(9)
	require.Panics(t, func() { w.Unregister(leaving) })
	w.peers = nil
	require.Zero(t, w.Inactive())
	bad := w.newPeer(1)
	bad.onUpdate = func() { panic("on purpose") }
	require.Panics(t, func() { w.Register(bad) })
	require.Panics(t, func() {
		w.BalanceOperation(nodeID(2), "", func(AtomicBalanceOperator) { panic("on purpose") })
	})
	require.EqualValues(t, 100, w.connect(2).capacity)
	bad.onUpdate = nil
	w.Stop()
}

func TestOperatorIsOverAfterwards(t *testing.T) {
	w := newWorld(t, nil)
	var kept AtomicBalanceOperator
	w.BalanceOperation(nodeID(1), "", func(b AtomicBalanceOperator) {
		kept = b
		pos, neg := b.GetPriceFactors()
		require.Equal(t, perNs, pos)
		require.Equal(t, perNs, neg)
	})
	_, _, err := kept.AddBalance(5)
	require.ErrorIs(t, err, ErrOperationOver)
	require.ErrorIs(t, kept.SetBalance(5, 0), ErrOperationOver)
	pos, _ := kept.GetBalance()
	require.Zero(t, pos)
}

func TestConfigErrorsNameTheField(t *testing.T) {
	good := Config{Store: testutil.NewFaultyStore(), MinCapacity: 1}
	for field, spoil := range map[string]func(*Config){
		"Store":         func(c *Config) { c.Store = nil },
		"MinCapacity":   func(c *Config) { c.MinCapacity = 0 },
		"MinCapacity ":  func(c *Config) { c.MinCapacity = 1<<62 + 1 },
		"CacheSize":     func(c *Config) { c.CacheSize = -1 },
		"ConnectedBias": func(c *Config) { c.ConnectedBias = -1 },
		"TokenLifetime": func(c *Config) { c.TokenLifetime = -1 },
		"TokenPrices":   func(c *Config) { c.TokenPrices.TimeFactor = math.NaN() },
		"DebtPrices":    func(c *Config) { c.DebtPrices.RequestFactor = -1 },
	} {
		cfg := good
		spoil(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, "Config."+strings.TrimSpace(field))
	}
	store := testutil.NewFaultyStore()
	store.FailIf(func(string) bool { return true })
	good.Store = store
	_, err := New(good)
	require.ErrorIs(t, err, testutil.ErrInjected)
}

// All at once, for the race detector. Each peer checks what it is told.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := testutil.NewFaultyStore()
		p, err := New(Config{
			Store: store, MinCapacity: 100, MaxClients: 5, MaxCapacity: 2000, CacheSize: 5,
			Clock: testutil.NewBubbleClock(), TokenPrices: perNs, DebtPrices: perNs,
		})
		require.NoError(t, err)
		p.Start()
		w := &world{ClientPool: p, t: t, store: store}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for round := range 30 {
					c := w.newPeer(i)
					c.allowance = time.Duration(round) * time.Millisecond
					if c.balance = w.Register(c); c.balance == nil {
						t.Error("not registered")
						return
					}
					w.pay(i, int64(round)*1e6)
					w.ask(i, 1, 0, 1e9)
					_, _ = c.set(uint64(round) * 50)
					c.balance.RequestServed(1000)
					c.balance.GetBalance()
					time.Sleep(time.Duration(round) * time.Millisecond)
					w.Unregister(c)
					c.mu.Lock()
					c.left = true
					c.mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for i := range 100 {
				p.SetLimits(uint64(i%7), uint64(i%5)*700)
				p.TotalTokenAmount()
				p.Status()
				p.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 3)
				time.Sleep(10 * time.Millisecond)
			}
		})
		time.Sleep(200 * time.Millisecond)
		wg.Wait()
		p.Stop()
		count, capacity := p.Active()
		require.Zero(t, count+capacity)
	})
}
