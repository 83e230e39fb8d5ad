package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// defects are those of the predecessor, go-ethereum v1.13.5's les/vflux/server and
// what it uses, each with the tests that fail on it. Tests of other packages stand
// with their folder.
var defects = []struct {
	number int
	what   string
	tests  string
}{
	{1, "the timer of exhaustion works once", "TestTokensRunOutWithoutTraffic"},
	{2, "added tokens never raise an answer", "TestAddedTokensCount"},
	{3, "the bias is ignored for who is not connected", "TestBiasProtectsInsiders"},
	{4, "debts never fade", "TestDebtsFadeByDefault"},
	{5, "small deposits are lost", "TestSmallDepositIsKept"},
	{6, "small charges are rounded to nothing", "TestSmallChargesAddUp TestChargesDoNotDependOnTheirNumber"},
	{7, "the address of a query includes the port", "TestAddressOfQuery udpquery:TestOneHostIsOneAddress"},
	{8, "answers are divided by the capacity twice", "TestQueryOfFullPool"},
	{9, "who never had capacity keeps a lost priority", "TestTokensTakenWhileWaiting"},
	{10, "a threshold that is reached already never fires", "TestTokensThatAreGoneAtOnce"},
	{11, "the peer never learns that it asked for a change", "TestRequestedReachesThePeer"},
	{12, "a second peer with a known id corrupts the pool", "TestRegisterTwice"},
	{13, "an attempt that fails takes capacity", "TestFailedAttemptChangesNothing TestMarketAgainstModel"},
	{14, "Register after Stop returns half a nil", "TestStopEndsAllClients"},
	{15, "no stop id means no ids", "TestGetPosBalanceIDs"},
	{16, "SetBalance swallows its error", "TestSetBalanceRefuses"},
	{17, "debts without an address are one debt", "TestNoAddressNoDebt"},
	{18, "a penalty vanishes while in service", "udpquery:TestPenaltySurvivesService"},
	{19, "one large penalty flattens all costs", "udpquery:TestHugePenaltyAndValueAreForgotten"},
	{20, "two meters never count", "TestMetrics"},
	{21, "a deposit races with exhaustion", "TestDepositAtExhaustion TestConcurrentUse"},
	{22, "huge balances and limits overflow", "TestHugeNumbers TestPriority"},
	{23, "setters leave a stale value", "udpquery:TestIntOrInfSetters"},
	{24, "a subtraction before the exponent is wrong", "lespay:TestExpiredValueAdds lespay:TestExpiredValueAgainstBigNumbers"},
	{25, "the comparator of dropped queues is none", "udpquery:TestDropsWorstOffenderFirst udpquery:TestDropsLatestOfEquals"},
	{26, "a panic blocks the server, and answers sleep", "udpquery:TestPanicsAreLoggedNowAndThen udpquery:TestNobodyWaitsLongerThan400ms"},
	{27, "Stop does not charge", "TestRestartKeepsBalances TestStopEndsAllClients"},
	{28, "without slots the answer is not 0", "TestMostInAnEmptyMarket"},
	{29, "cleaning up leaks iterators and forgets the cache", "TestIteratorsAreReleased TestDepositDuringCleanup TestSmallDebtsAreRemoved"},
	{30, "a key of odd length ends the list", "TestUndecodableBalancesCountAsNone"},
	{31, "clients behind one address overwrite their debt", "TestDebtIsShared"},
	{32, "decisions use priorities that are out of date", "TestDecisionsKnowTheLastSecond"},
	{33, "a queue of functions loses one (not in this library: les/utils stays the server's own)", ""},
	{34, "bursts of requests are underestimated", "TestBurstCountsAtOnce"},
}

func TestEveryDefectHasATest(t *testing.T) {
	for i, d := range defects {
		require.Equal(t, i+1, d.number)
		for _, name := range strings.Fields(d.tests) {
			folder := "."
			if other, rest, ok := strings.Cut(name, ":"); ok {
				folder, name = map[string]string{"lespay": "..", "udpquery": "../../udpquery"}[other], rest
			}
			require.Contains(t, testsIn(t, folder), name, "defect %d: %s", d.number, d.what)
		}
	}
	require.Len(t, defects, 34)
}

// Small steps, real exhaustion: whoever has tokens keeps its capacity until they
// are gone, and no longer, though nothing else happens. Also after it was inactive.
func TestTokensRunOutWithoutTraffic(t *testing.T) {
	for _, span := range []time.Duration{3 * time.Second, time.Minute, time.Hour, 50 * time.Hour} {
		w := newWorld(t, func(c *Config) { c.TokenLifetime = 1000 * time.Hour })
		w.pay(1, int64(span))
		p := w.connect(1)
		_, err := p.set(300)
		require.NoError(t, err)
		w.SetLimits(0, 0)
		w.clock.Run(10 * time.Second) // inactive: costs nothing
		w.SetLimits(10, 1000)
		_, err = p.set(300)
		require.NoError(t, err)
		for range 100 {
			w.clock.Run(span / 100 * 95 / 100)
		}
		require.EqualValues(t, 300, p.capacity, span)
		w.clock.Run(span/20 + time.Second)
		require.EqualValues(t, 100, p.capacity, span)
		pos, _ := p.balance.GetBalance()
		require.Zero(t, pos)
	}
}

func TestAddedTokensCount(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 10 {
		w.pay(i, hour)
		w.connect(i)
	}
	got := w.ask(20, 0, 0, hour/2, 2*hour, 1<<62)
	require.Equal(t, []uint64{0, 0}, got[:2])
	require.Greater(t, got[2], uint64(100))
	require.EqualValues(t, 1000, got[3])
}

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

func TestAddressOfQuery(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 10 {
		w.owe(i, 1e9)
		w.connect(i)
	}
	w.owe(20, 1e12)
	query := []byte{0xc5, 0x80, 0xc3, 0xc2, 0x80, 0x80}
	no, yes := []byte{0xc1, 0x80}, []byte{0xc1, 100}
	plain := address(20)
	for _, from := range []string{plain, plain + ":30303", "::ffff:" + plain, "[::ffff:" + plain + "]:1"} {
		require.Equal(t, no, w.Handle(nodeID(20), from, "cq", query), from)
	}
	require.Equal(t, yes, w.Handle(nodeID(20), "10.9.9.9:30303", "cq", query))
	w.owe(21, 0)
	w.BalanceOperation(nodeID(21), nodeID(21).String(), func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(0, 1e12))
	})
	for _, local := range []string{"127.0.0.1:30303", "::1", "", "nonsense", nodeID(21).String()} {
		require.Equal(t, no, w.Handle(nodeID(21), local, "cq", query), local)
	}
	require.Equal(t, "fe80::1", freeClientID(nodeID(1), "fe80::1%eth0"))
	require.Nil(t, w.Handle(nodeID(21), plain, "CQ", query))
}

func TestTokensTakenWhileWaiting(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 0 })
	w.pay(1, hour)
	p := w.connect(1)
	w.clock.Run(time.Hour)
	require.Empty(t, p.calls, "may wait as long as it has tokens")
	w.pay(1, -hour)
	w.clock.Run(1)
	require.Equal(t, []string{"disconnect"}, p.calls)
}

// The allowance ends when tokens arrive, and starts when they are gone.
func TestAllowanceStopsWithTokens(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 0 })
	p := w.newPeer(1)
	p.allowance = time.Minute
	p.register()
	w.clock.Run(59 * time.Second)
	w.pay(1, hour)
	w.clock.Run(time.Hour)
	require.Empty(t, p.calls)
	w.pay(1, -hour)
	w.clock.Run(59 * time.Second)
	require.Empty(t, p.calls)
	w.clock.Run(time.Second)
	require.Equal(t, []string{"disconnect"}, p.calls)
}

func TestTokensThatAreGoneAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, 1)
	p := w.connect(1)
	_, err := p.set(200)
	require.NoError(t, err)
	require.EqualValues(t, 200, p.capacity)
	w.clock.Run(2)
	require.EqualValues(t, 100, p.capacity)

	w.pay(2, hour)
	p = w.connect(2)
	_, err = p.set(200)
	require.NoError(t, err)
	p.balance.SetPriceFactors(PriceFactors{TimeFactor: 1e20}, PriceFactors{})
	w.clock.Run(2)
	require.EqualValues(t, 100, p.capacity)

	w.pay(3, hour)
	p = w.connect(3)
	_, err = p.set(200)
	require.NoError(t, err)
	require.Zero(t, p.balance.RequestServed(2*uint64(hour)))
	w.clock.Run(0)
	require.EqualValues(t, 100, p.capacity)
}

func TestRequestedReachesThePeer(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, hour)
	p := w.connect(1)
	require.False(t, p.requested)
	equal, err := enode.Parse(enode.ValidSchemes, testutil.Node(1, 1, "10.0.0.1").String())
	require.NoError(t, err)
	require.NotNil(t, equal)
	_, err = p.set(200)
	require.NoError(t, err)
	require.True(t, p.requested)
	_, err = w.SetCapacity(testutil.FakeNode(1, 1), 300, 0, true) // not the same pointer
	require.NoError(t, err)
	require.True(t, p.requested)
	_, err = w.SetCapacity(p.node, 400, 0, false)
	require.NoError(t, err)
	require.False(t, p.requested)
	_, err = p.set(150)
	require.NoError(t, err)
	require.True(t, p.requested)
	w.SetLimits(10, 100)
	require.False(t, p.requested)
}

// 700, 300 and 100 of 1,100: the last one leaves, another one that waits gets its
// place, and a second one that waits gets nothing; nobody else loses anything.
func TestFailedAttemptChangesNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxCapacity = 1100; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	var peers []*peer
	for i, tokens := range []int64{7e9, 3e9, 1e9} {
		w.pay(i, tokens)
		peers = append(peers, w.connect(i))
	}
	for i, capacity := range []uint64{700, 300} {
		_, err := peers[i].set(capacity)
		require.NoError(t, err)
	}
	w.pay(10, 9e8)
	w.pay(11, 8e8)
	next, last := w.connect(10), w.connect(11)
	require.Zero(t, next.capacity+last.capacity)
	peers[2].leave()
	require.EqualValues(t, 100, next.capacity)
	require.Zero(t, last.capacity)
	require.EqualValues(t, 300, peers[1].capacity)
	require.EqualValues(t, 700, peers[0].capacity)
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

type counter struct{ n int64 }

func (c *counter) Mark(n int64)   { c.n += n }
func (c *counter) Update(n int64) { c.n = n }

func TestMetrics(t *testing.T) {
	var m [9]counter
	w := newWorld(t, func(c *Config) {
		c.MaxClients = 1
		c.Metrics = Metrics{&m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &m[6], &m[7], &m[8]}
	})
	first := w.connect(1)
	w.pay(2, hour)
	second := w.connect(2)
	require.EqualValues(t, 100, m[0].n)
	require.EqualValues(t, 1, m[1].n)
	require.EqualValues(t, 1, m[2].n)
	require.EqualValues(t, 2, m[3].n, "connected")
	require.EqualValues(t, 2, m[4].n, "activated")
	require.EqualValues(t, 1, m[5].n, "deactivated")
	first.leave()
	require.EqualValues(t, 1, m[6].n, "disconnected")
	require.Zero(t, m[2].n)
	w.ask(3, 0, 0)
	w.ask(3, 0, 2*hour)
	require.EqualValues(t, 1, m[7].n, "zero")
	require.EqualValues(t, 1, m[8].n, "not zero")
	second.leave()
	require.Zero(t, m[0].n+m[1].n)
}

// Tokens that arrive at the moment at which the last ones are gone keep the client
// where it is.
func TestDepositAtExhaustion(t *testing.T) {
	w := newWorld(t, nil)
	w.pay(1, 1e9)
	p := w.connect(1)
	_, err := p.set(500)
	require.NoError(t, err)
	w.clock.Run(time.Second - 1)
	w.pay(1, hour)
	w.clock.Run(time.Minute)
	require.EqualValues(t, 500, p.capacity)

	w.BalanceOperation(nodeID(1), "", func(b AtomicBalanceOperator) {
		require.NoError(t, b.SetBalance(0, 0))
		_, _, err := b.AddBalance(hour)
		require.NoError(t, err)
	})
	require.EqualValues(t, 500, p.capacity, "nothing in between is seen")
	w.clock.Run(time.Hour + time.Second)
	require.EqualValues(t, 100, p.capacity)
}

func TestHugeNumbers(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MinCapacity, c.MaxCapacity = 1, 1<<64-1 })
	w.pay(1, maxBalance)
	_, limit := w.Limits()
	require.EqualValues(t, 1<<62, limit)
	require.Equal(t, []uint64{1 << 62, 1 << 62}, w.ask(1, 1<<64-1, 0, maxBalance))
	p := w.connect(1)
	got, err := p.set(1 << 62)
	require.NoError(t, err)
	require.EqualValues(t, 1<<62, got)
	require.Zero(t, w.connect(2).capacity)
	w.SetLimits(1<<64-1, 1<<63)
	w.clock.Run(time.Hour)
	w.requireConsistent()
	p.balance.RequestServed(1<<64 - 1)
	p.balance.SetPriceFactors(PriceFactors{1e300, 1e300, 1e300}, PriceFactors{1e300, 1e300, 1e300})
	w.clock.Run(time.Hour)
	_, neg := p.balance.GetBalance()
	require.EqualValues(t, uint64(maxBalance), neg)
	w.requireConsistent()
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

// A payment that arrives between the look at a record and its removal stays,
// whether it is still in memory or not.
func TestDepositDuringCleanup(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.TokenLifetime = time.Minute; c.CacheSize = 1 })
	w.pay(0, 100)
	w.pay(1, 100)
	w.pay(2, 100)
	w.clock.Run(50 * time.Minute)
	for i := range 3 {
		w.store.FailIf(func(op string) bool { return op == "iterate" }) // no other cleaning
		doomed := []string{tokenKey(nodeID(i))}
		w.pay(i, hour)
		if i != 2 {
			w.pay(i+10, hour) // drives it out of the cache
		}
		w.saveMu.Lock()
		require.NoError(t, w.removeLocked(doomed, w.now()))
		w.saveMu.Unlock()
		w.store.FailIf(nil)
	}
	require.Len(t, w.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 10), 5)
}

// What an insider has spent more than a second ago counts in every decision.
func TestDecisionsKnowTheLastSecond(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 2 })
	w.pay(1, 100*hour)
	w.pay(2, 50*hour)
	rich, poor := w.connect(1), w.connect(2)
	rich.balance.RequestServed(uint64(99 * hour))
	w.clock.Run(time.Second)
	w.pay(3, 2*hour)
	require.NotZero(t, w.ask(3, 0, 0)[0])
	require.NotZero(t, w.connect(3).capacity)
	require.Zero(t, rich.capacity, "has less than the others by now")
	require.NotZero(t, poor.capacity)
}

// Requests count when they are made, however long the client was idle before.
func TestBurstCountsAtOnce(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxClients = 1; c.TokenPrices = PriceFactors{RequestFactor: 1} })
	w.pay(1, hour)
	p := w.connect(1)
	w.clock.Run(1000 * time.Hour)
	require.EqualValues(t, hour/2, p.balance.RequestServed(uint64(hour/2)))
	w.clock.Run(time.Second)
	require.NotZero(t, w.ask(2, 0, hour/2+1000)[0])
}

// ---------------------------------------------------------------------------

// testsIn returns the names of the test functions of a folder.
func testsIn(t *testing.T, folder string) (names []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}
