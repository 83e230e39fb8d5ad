package lespay

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// world is what a tracker under test lives in: virtual time, a wall clock that
// goes along unless it is set, a store that outlives the tracker, and the log.
type world struct {
	t     testing.TB
	clock *testutil.Clock
	wall  time.Time // when clock was at 0
	cfg   Config
	store *testutil.FaultyStore
	log   *logSink
	rnd   *rand.Rand
}

func newWorld(t testing.TB) *world {
	w := &world{
		t:     t,
		clock: new(testutil.Clock),
		wall:  time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC),
		store: testutil.NewFaultyStore(),
		log:   new(logSink),
		rnd:   rand.New(rand.NewPCG(1, 2)),
	}
	w.cfg = Config{
		Store:    w.store,
		Clock:    w.clock,
		Requests: []RequestInfo{{"header", 10, 1}, {"body", 10, 2}, {"proof", 10, 3}},
	}
	return w
}

// start makes a tracker. The log is not cleared.
func (w *world) start() *ValueTracker {
	w.cfg.WallClock = func() time.Time { return w.wall.Add(time.Duration(w.clock.Now())) }
	vt, err := newValueTracker(w.cfg, w.log.report)
	require.NoError(w.t, err)
	return vt
}

// crash returns a world that goes on with a copy of the store as it is.
func (w *world) crash() *world {
	next := *w
	next.store = testutil.NewFaultyStore()
	for k, v := range w.records() {
		require.NoError(w.t, next.store.Put([]byte(k), v))
	}
	next.cfg.Store = next.store
	next.log = new(logSink)
	return &next
}

// off lets time pass without a tracker.
func (w *world) off(d time.Duration) { w.wall = w.wall.Add(d) }

// records returns what is stored.
func (w *world) records() map[string][]byte {
	res := make(map[string][]byte)
	it := w.store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		res[string(it.Key())] = append([]byte(nil), it.Value()...)
	}
	return res
}

// stored returns how many servers are stored.
func (w *world) stored() (n int) {
	for key := range w.records() {
		if len(key) > len(w.cfg.Prefix)+len(nodePrefix) {
			n++
		}
	}
	return n
}

// requireSum checks that the global statistics are the sum of the servers', to
// a unit in each bin for each server and halving since the beginning.
func (w *world) requireSum(vt *ValueTracker, servers int) {
	w.t.Helper()
	sum := ResponseTimeStats{exp: vt.RtStats().exp}
	for i := range servers {
		rt := vt.GetNode(id(i)).RtStats()
		sum.AddStats(&rt)
	}
	global := vt.RtStats()
	global.raise(sum.exp)
	slack := float64(servers) * float64(vt.StatsExpFactor().Exp+1)
	for i := range global.stats {
		require.InDelta(w.t, float64(global.stats[i]), float64(sum.stats[i]), slack, "bin %d", i)
	}
}

// logSink collects what is logged.
type logSink struct {
	mu    sync.Mutex
	lines []string
}

func (s *logSink) report(msg string, ctx ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprint(append([]any{msg}, ctx...)...))
}

// take returns the log and clears it.
func (s *logSink) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

func id(i int) enode.ID { return testutil.FakeNode(uint64(i+1), 1).ID() }

func one(reqType, amount uint32) []ServedRequest { return []ServedRequest{{reqType, amount}} }

// value is what a server's service is worth at a timeout of a second.
func value(vt *ValueTracker, rt ResponseTimeStats) float64 {
	return rt.Value(TimeoutWeights(time.Second), vt.StatsExpFactor())
}

// total is the weight of all outcomes, good or bad.
func total(vt *ValueTracker, rt ResponseTimeStats) (sum float64) {
	for _, row := range rt.Distribution(false, vt.StatsExpFactor()) {
		sum += row[1]
	}
	return sum
}

var _ Store = (*memorydb.Database)(nil)
