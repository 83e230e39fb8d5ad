package serverpool

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	gethmetrics "github.com/ethereum/go-ethereum/metrics"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// What existing light clients call, word by word.

// What is known to fail in the pool of go-ethereum v1.13.5, and the tests that
// it does not fail here:
//
//	a source of unusable nodes is read in a hot loop     TestUselessSourceIsReadSlowly,
//	                                                      TestFillSetReadsAtMost100UselessNodesASecond
//	reading goes on when the machine has ended            TestFillSetEndsWithTheMachineOrTheInput
//	Stop does not wait, panics the second time, and       TestStopTakesLessThanASecondWhateverFunctionsDo,
//	RegisterNode returns (nil, nil) after it              TestConcurrentStopsWaitForTheFirst,
//	                                                      TestMethodsWorkBeforeStartAndAfterStop
//	Close leaves sources open; an unstarted pool leaks    TestCloseClosesTheSources, TestNoGoroutineIsLeft
//	waits of servers without value never grow             TestWaitsOfValuelessServersGrow
//	connected nodes come out and stick in "dialed"        TestConnectedNodeDoesNotComeOutOfTheIterator,
//	                                                      TestCandidateThatConnectsFirstIsNotGivenOut
//	the source of known servers ends                      TestKnownSourceNeverEnds,
//	                                                      TestIteratorsSurviveNodesThatVanish
//	silent servers starve beside full ones                TestServersWithoutQueriesAreNotStarved
//	a server given up keeps its address and its entry     TestServerIsForgottenAbove2000Hours
//	a restart ends all waits of servers without value     TestWaitOfAValuelessServerIsResumedAndGrowsOn
//	the given clock is not used for statistics            TestGivenClockDrivesTheStatistics
//	two pools on one database collide                     TestTwoPoolsShareADatabase
//	a negative mix time hangs the iterator                TestNewServerPoolNeverFails
//	the queue is last in, first out; Close wakes one      TestOldestAnswerIsGivenFirst, TestCloseWakesAllReaders
//	an answer that nobody took sets no wait               TestUntakenCandidateCostsNothing
//	the queue hands out old records                       TestQueueIteratorReturnsTheNewestRecord
//	one network takes nearly all dials                    TestAtMostTwoOfANetworkAreUnderWay
//	only loopback addresses are remembered                TestLocalAddressIsRememberedAndForgotten
//
// That value is credited before proofs are checked is up to the application; how
// failures count, and clocks that run wild between two runs, are package
// lespay's matter and are tested there.

// existingClient calls everything with the types that such a client has.
func existingClient(db ethdb.KeyValueStore, clock mclock.Clock, dialer p2p.NodeDialer, n *enode.Node) *ServerPool {
	requests := []RequestInfo{{Name: "GetBlockHeaders", InitAmount: 1, InitValue: 1}}
	pool, it := NewServerPool(db, []byte("sp:"), time.Millisecond*100, func(*enode.Node) int { return 1 }, clock, []string{n.String()}, requests)
	pool.AddMetrics(gethmetrics.NewGauge(), gethmetrics.NewGauge(), gethmetrics.NewGauge(), gethmetrics.NewGauge(), gethmetrics.NewMeter(), gethmetrics.NewMeter())
	pool.AddSource(enode.IterNodes(nil))
	_ = p2p.Protocol{DialCandidates: it}
	_ = p2p.Config{Dialer: pool.Dialer(dialer)}
	pool.Start()
	var tracker *NodeValueTracker
	tracker, err := pool.RegisterNode(n)
	if err != nil {
		panic(err)
	}
	tracker.UpdateCosts([]uint64{100})
	tracker.Served([]ServedRequest{{ReqType: 0, Amount: 100}}, time.Millisecond)
	pool.UnregisterNode(n)
	var timeout time.Duration = pool.GetTimeout()
	var local *enode.Node = pool.DialNode(n)
	pool.Persist(local)
	var api *PrivateClientAPI = pool.API()
	if _, err := api.Value("", timeout.Seconds()); err != nil {
		panic(err)
	}
	pool.Stop()
	return pool
}

var (
	_ Store                      = ethdb.KeyValueStore(nil)
	_ Store                      = (*leveldb.Database)(nil)
	_ p2p.NodeDialer             = NodeDialer(nil)
	_ Gauge                      = gethmetrics.NewGauge()
	_ Meter                      = gethmetrics.NewMeter()
	_ enode.Iterator             = (*QueueIterator)(nil)
	_ enode.Iterator             = (*WrsIterator)(nil)
	_ *lespay.PrivateClientAPI   = PrivateClientAPI{}.PrivateClientAPI
	_ *lespay.NodeValueTracker   = (*NodeValueTracker)(nil)
	_ func(*enode.Node) int      = QueryFunc(nil)
	_ func([]lespay.RequestInfo) = func([]RequestInfo) {}
)

func TestFixedAPI(t *testing.T) {
	db := memorydb.New()
	existingClient(db, mclock.System{}, nil, testutil.PublicNode(1))
	require.NotEmpty(t, keysOf(t, db, "sp:ns:"))
	require.NotEmpty(t, keysOf(t, db, "vt:"))
	require.NotEmpty(t, keysOf(t, db, "vtNode:"))
}

func TestNewServerPoolNeverFails(t *testing.T) {
	one := []RequestInfo{{Name: "a", InitAmount: 1, InitValue: 1}}
	broken := testutil.NewFaultyStore()
	broken.FailIf(func(string) bool { return true })
	for name, c := range map[string]struct {
		db       Store
		requests []RequestInfo
		mix      time.Duration
		want     []string // names of the request types
	}{
		"all well":           {memorydb.New(), one, 0, []string{"a"}},
		"nil db":             {nil, one, 0, []string{"a"}},
		"typed nil db":       {(*memorydb.Database)(nil), one, 0, []string{"a"}},
		"broken db":          {broken, one, 0, []string{"a"}},
		"no requests":        {memorydb.New(), nil, 0, []string{"any"}},
		"negative mix time":  {memorydb.New(), one, -time.Hour, []string{"a"}},
		"endless mix time":   {memorydb.New(), one, math.MaxInt64, []string{"a"}},
		"same name":          {memorydb.New(), append(one, one[0], RequestInfo{Name: "a (1)"}), 0, []string{"a", "a (1)", "a (1) (2)"}},
		"NaN and Inf":        {memorydb.New(), []RequestInfo{{Name: "a", InitAmount: math.NaN(), InitValue: 1}, {Name: "b", InitAmount: 1, InitValue: math.Inf(1)}, {Name: "c", InitAmount: -1, InitValue: 1}}, 0, []string{"a", "b", "c"}},
		"all zero":           {memorydb.New(), []RequestInfo{{Name: "a"}, {Name: "b"}}, 0, []string{"a", "b"}},
		"product overflows":  {memorydb.New(), []RequestInfo{{Name: "a", InitAmount: 1e200, InitValue: 1e200}, {Name: "b", InitAmount: 1, InitValue: 1}}, 0, []string{"a", "b"}},
		"product underflows": {memorydb.New(), []RequestInfo{{Name: "a", InitAmount: 1e-9, InitValue: 1}}, 0, []string{"a"}},
		"broken db, bad too": {broken, []RequestInfo{{Name: "a", InitAmount: 1e-9, InitValue: 1}}, 0, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, it := NewServerPool(c.db, nil, c.mix, nil, nil, []string{"no url"}, c.requests)
			require.NotNil(t, p)
			defer p.Stop()
			var names []string
			for _, s := range p.API().RequestStats() {
				names = append(names, s.Name)
				require.False(t, math.IsNaN(s.ReqValue) || math.IsInf(s.ReqValue, 0) || math.IsNaN(s.ReqAmount))
			}
			require.Equal(t, c.want, names)
			n := testutil.PublicNode(1)
			p.AddSource(newSource(n))
			p.Start()
			require.True(t, it.Next())
			require.Equal(t, n.ID(), it.Node().ID())
			tracker, err := p.RegisterNode(n)
			require.NoError(t, err)
			serve(tracker, 10)
			p.UnregisterNode(n)
			require.Equal(t, 1, p.Status().Known)
		})
	}
}

// Bad amounts are no reason to lose the database.
func TestBadRequestListKeepsTheDatabase(t *testing.T) {
	db := memorydb.New()
	for round := range 2 {
		p, _ := NewServerPool(db, nil, 0, nil, nil, nil, []RequestInfo{{Name: "a", InitAmount: 1e-9, InitValue: 1}})
		p.Start()
		require.Equal(t, round, p.Status().Known)
		tracker, err := p.RegisterNode(testutil.PublicNode(1))
		require.NoError(t, err)
		serve(tracker, 100)
		p.UnregisterNode(testutil.PublicNode(1))
		p.Stop()
	}
}

// Two pools with keys of their own don't see each other's servers.
func TestTwoPoolsShareADatabase(t *testing.T) {
	db := memorydb.New()
	open := func(key string) *ServerPool {
		p, err := New(Config{Requests: testRequests, Store: db, DBKey: []byte(key), TrackerKey: []byte(key)})
		require.NoError(t, err)
		p.Start()
		return p
	}
	for i := range uint64(2) {
		for k, key := range []string{"a/", "b/"} {
			p := open(key)
			require.EqualValues(t, i, p.Status().Known)
			n := testutil.PublicNode(10*uint64(k) + i)
			tracker, err := p.RegisterNode(n)
			require.NoError(t, err)
			serve(tracker, 100)
			p.UnregisterNode(n)
			p.Stop()
		}
	}
}

// The clock that is given is the one that everything runs on.
func TestGivenClockDrivesTheStatistics(t *testing.T) {
	clock := new(testutil.Clock)
	p, _ := NewServerPool(memorydb.New(), nil, 0, nil, clock, nil, testRequests)
	defer p.Stop()
	p.Start()
	tracker, err := p.RegisterNode(testutil.PublicNode(1))
	require.NoError(t, err)
	serve(tracker, 1000)
	before := p.serviceOf(testutil.PublicNode(1), history{}).total
	clock.Run(100 * time.Hour)
	require.InDelta(t, before/math.E, p.serviceOf(testutil.PublicNode(1), history{}).total, 5)
}

// number is a gauge and a meter.
type number struct{ total, last atomic.Int64 }

func (x *number) Mark(k int64)   { x.total.Add(k); x.last.Store(k) }
func (x *number) Update(k int64) { x.last.Store(k) }

func TestMetrics(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		var timeout, total, selectable, connected, session, dialed number
		w.pool.AddMetrics(nil, (*number)(nil), nil, (*number)(nil), nil, (*number)(nil))
		w.pool.AddMetrics(&timeout, &total, &selectable, &connected, &session, &dialed)
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		serve(w.connect(w.mustNext(time.Second)), 50)
		require.EqualValues(t, 1, connected.last.Load())
		require.EqualValues(t, 1, dialed.total.Load())
		time.Sleep(timeoutRefresh)
		w.pool.UnregisterNode(n)
		require.Zero(t, connected.last.Load())
		require.InDelta(t, 50, session.total.Load(), 1)
		require.InDelta(t, 50, total.last.Load(), 1)
		require.EqualValues(t, w.pool.GetTimeout().Milliseconds(), timeout.last.Load())
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, selectable.last.Load())
		w.pool.AddMetrics(nil, nil, nil, nil, nil, nil) // too late: logged
		require.Equal(t, 1, w.log.count("AddMetrics after Start has no effect"))
	})
}
