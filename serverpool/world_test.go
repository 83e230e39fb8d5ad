package serverpool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// This file is what the stories of the other tests are told with: a world of
// servers in the virtual time of a bubble, a source that is fed by hand, and an
// application that takes, registers and uses servers.

// world is a pool and what is around it.
type world struct {
	t     *testing.T
	pool  *ServerPool
	store *testutil.FaultyStore
	log   *logSpy
	start time.Time

	pending chan *enode.Node // a Next that has not returned yet
	ended   bool             // a Next has returned false

	mu struct {
		sync.Mutex
		replies map[enode.ID]reply
		asked   []asked
	}
}

// reply is how a server answers a query.
type reply func(ctx context.Context) Answer

type asked struct {
	id enode.ID
	at time.Duration
}

// always answers at once, after the milliseconds that a packet takes.
func always(a Answer) reply {
	return func(context.Context) Answer {
		time.Sleep(5 * time.Millisecond)
		return a
	}
}

// mute never answers and heeds its context.
func mute(ctx context.Context) Answer {
	<-ctx.Done()
	return Silent
}

var testRequests = []RequestInfo{{Name: "any", InitAmount: 1, InitValue: 1}}

// inBubble tells a story in virtual time. The pool queries servers as
// world.replies says (No if it says nothing); edit may change its
// configuration.
func inBubble(t *testing.T, edit func(*Config), story func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.open(edit)
		story(t, w)
	})
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: testutil.NewFaultyStore(), log: &logSpy{Logger: log.New()}, start: time.Now()}
	w.mu.replies = make(map[enode.ID]reply)
	return w
}

// open makes a pool over the world's store, which is stopped at the latest when
// the test ends. It may be called again for a restart.
func (w *world) open(edit func(*Config)) {
	w.t.Helper()
	cfg := Config{
		Requests: testRequests,
		Store:    w.store,
		DBKey:    []byte("key/"),
		Query:    w.query,
		Clock:    testutil.NewBubbleClock(),
		Seed:     1,
		Log:      w.log,
	}
	if edit != nil {
		edit(&cfg)
	}
	p, err := New(cfg)
	require.NoError(w.t, err)
	w.t.Cleanup(p.Stop)
	w.pool, w.pending = p, nil
}

// crash leaves the running pool with a store that nobody reads again, so that
// what is not written by now is lost.
func (w *world) crash() {
	survivor := testutil.NewFaultyStore()
	it := w.store.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		require.NoError(w.t, survivor.Put(it.Key(), it.Value()))
	}
	w.store = survivor
	w.pool.Stop() // into the store that is given up
}

func (w *world) query(ctx context.Context, n *enode.Node) Answer {
	w.mu.Lock()
	w.mu.asked = append(w.mu.asked, asked{n.ID(), time.Since(w.start)})
	r := w.mu.replies[n.ID()]
	w.mu.Unlock()
	if r == nil {
		return always(No)(ctx)
	}
	return r(ctx)
}

// set has servers answer queries in some way.
func (w *world) set(r reply, nodes ...*enode.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range nodes {
		w.mu.replies[n.ID()] = r
	}
}

// timesAsked returns when a server was asked, since the world began.
func (w *world) timesAsked(n *enode.Node) (times []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.mu.asked {
		if a.id == n.ID() {
			times = append(times, a.at)
		}
	}
	return times
}

func (w *world) totalAsked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.asked)
}

// next is Next and Node, or nil if nothing comes within d. Then the call of
// Next goes on waiting, and its result belongs to the next call of next.
func (w *world) next(d time.Duration) *enode.Node {
	if w.pending == nil {
		ch, it := make(chan *enode.Node, 1), w.pool.Iterator()
		w.pending = ch
		go func() {
			if it.Next() {
				ch <- it.Node()
			}
			close(ch)
		}()
	}
	select {
	case n, ok := <-w.pending:
		w.pending, w.ended = nil, !ok
		return n
	case <-time.After(d):
		return nil
	}
}

// mustNext is next for a node that has to come.
func (w *world) mustNext(d time.Duration) *enode.Node {
	w.t.Helper()
	n := w.next(d)
	require.NotNil(w.t, n, "no node within %v", d)
	return n
}

// state returns the flags of a node's life, as text: whether it is an acquaintance
// is another matter.
func (w *world) state(n *enode.Node) string {
	synctest.Wait()
	life := w.pool.st.inDialProcess.Or(w.pool.st.hasValue).Or(w.pool.st.alwaysConnect).Or(w.pool.st.dialTimeout)
	return w.pool.ns.GetState(n).And(life).String()
}

// connect registers a server.
func (w *world) connect(n *enode.Node) *NodeValueTracker {
	w.t.Helper()
	tracker, err := w.pool.RegisterNode(n)
	require.NoError(w.t, err)
	require.NotNil(w.t, tracker)
	return tracker
}

// befriend makes servers known ones: each connects, answers some requests and
// leaves. Afterwards they wait for the shortest time.
func (w *world) befriend(requests uint32, nodes ...*enode.Node) {
	w.t.Helper()
	for _, n := range nodes {
		serve(w.connect(n), requests)
		w.pool.UnregisterNode(n)
	}
}

// serve counts requests that were answered fast.
func serve(tracker *NodeValueTracker, requests uint32) {
	tracker.Served([]ServedRequest{{ReqType: 0, Amount: requests}}, time.Millisecond)
}

// guarded reads something that the pool's lock guards.
func guarded[T any](p *ServerPool, read func() T) T {
	p.mu.Lock()
	defer p.mu.Unlock()
	return read()
}

// wait returns how long the planned redial wait of a node is.
func (w *world) wait(n *enode.Node) time.Duration {
	h := w.pool.historyOf(n)
	return time.Duration(h.waitEnd-h.waitStart) * time.Second
}

// plenty is how many nodes a source holds before feeding it blocks.
const plenty = 4096

// source is an iterator over the nodes that it is fed with. It waits when there
// is none.
type source struct {
	nodes  chan *enode.Node
	closed chan struct{}
	once   sync.Once
	node   *enode.Node
	reads  atomic.Int64
}

func newSource(nodes ...*enode.Node) *source {
	s := &source{nodes: make(chan *enode.Node, plenty), closed: make(chan struct{})}
	s.feed(nodes...)
	return s
}

func (s *source) feed(nodes ...*enode.Node) {
	for _, n := range nodes {
		s.nodes <- n
	}
}

func (s *source) Next() bool {
	select {
	case <-s.closed:
		return false
	case s.node = <-s.nodes:
		s.reads.Add(1)
		return true
	}
}

func (s *source) Node() *enode.Node { return s.node }
func (s *source) Close()            { s.once.Do(func() { close(s.closed) }) }

func (s *source) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// cycle is a source that repeats the same nodes for ever and never waits.
type cycle struct {
	*source
	list []*enode.Node
}

func newCycle(list ...*enode.Node) *cycle { return &cycle{newSource(), list} }

func (c *cycle) Next() bool {
	if c.isClosed() {
		return false
	}
	c.node = c.list[int(c.reads.Add(1)-1)%len(c.list)]
	return true
}

// publicNodes returns servers number from to from+count-1, each in a network of
// its own.
func publicNodes(from, count uint64) (nodes []*enode.Node) {
	for i := range count {
		nodes = append(nodes, testutil.PublicNode(from+i))
	}
	return nodes
}

func containsNode(list []*enode.Node, n *enode.Node) bool {
	return slices.ContainsFunc(list, func(m *enode.Node) bool { return m.ID() == n.ID() })
}

// logSpy notes what is logged, of warnings and errors the message.
type logSpy struct {
	log.Logger
	mu    sync.Mutex
	lines []string
	info  []string
}

func (l *logSpy) note(msg string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, msg)
}

func (l *logSpy) Warn(msg string, _ ...any)  { l.note(msg) }
func (l *logSpy) Error(msg string, _ ...any) { l.note(msg) }

func (l *logSpy) Info(msg string, ctx ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.info = append(l.info, fmt.Sprint(append([]any{msg, " "}, ctx...)...))
}

// infos returns what was logged with a message.
func (l *logSpy) infos(msg string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.info {
		if strings.HasPrefix(line, msg+" ") {
			found = append(found, line)
		}
	}
	return found
}

// count returns how often a message was logged.
func (l *logSpy) count(msg string) (k int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line == msg {
			k++
		}
	}
	return k
}

// keysOf returns the keys of a store that have a prefix, without it.
func keysOf(t *testing.T, db *memorydb.Database, prefix string) (keys []string) {
	it := db.NewIterator([]byte(prefix), nil)
	defer it.Release()
	for it.Next() {
		keys = append(keys, string(it.Key()[len(prefix):]))
	}
	require.NoError(t, it.Error())
	return keys
}
