package disk

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	theirs "github.com/ethereum/go-ethereum/les/vflux/client"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/serverpool"
)

// dbKey stands before the pools' own entries.
const dbKey = "serverpool:"

// pool is what the tests do with a pool of either side.
type pool struct {
	it         enode.Iterator
	stop       func()
	register   func(*enode.Node) (tracker, error)
	unregister func(*enode.Node)
	getTimeout func() time.Duration
	dialNode   func(*enode.Node) *enode.Node

	value        func(node string, timeout float64) (float64, error)
	timeout      func(node string, failRate float64) (float64, error)
	distribution func(node string) ([32][2]float64, error)
	requestStats func() []lespay.RequestStatsItem

	ours *serverpool.ServerPool // if it is ours

	asked chan struct{} // somebody calls Next
	given chan *enode.Node
}

type tracker interface {
	UpdateCosts([]uint64)
	served(reqType, amount uint32, took time.Duration)
}

// opener opens and starts a pool of one side.
type opener func(t *testing.T, db ethdb.KeyValueStore, requests []lespay.RequestInfo, source ...*enode.Node) *pool

func openTheirs(t *testing.T, db ethdb.KeyValueStore, requests []lespay.RequestInfo, source ...*enode.Node) *pool {
	s, it := theirs.NewServerPool(db, []byte(dbKey), time.Second, nil, testutil.NewBubbleClock(), nil, theirRequests(requests))
	if len(source) > 0 {
		s.AddSource(slowly(source))
	}
	s.Start()
	api := s.API()
	return (&pool{
		it: it,
		stop: func() {
			it.Close()
			s.Stop()
		},
		register: func(n *enode.Node) (tracker, error) {
			nv, err := s.RegisterNode(n)
			return theirTracker{nv}, err
		},
		unregister: s.UnregisterNode,
		getTimeout: s.GetTimeout,
		dialNode:   s.DialNode,
		value:      api.Value,
		timeout:    api.Timeout,
		distribution: func(node string) ([32][2]float64, error) {
			d, err := api.Distribution(node, false)
			return d, err
		},
		requestStats: func() (items []lespay.RequestStatsItem) {
			for _, item := range api.RequestStats() {
				items = append(items, lespay.RequestStatsItem(item))
			}
			return items
		},
	}).read()
}

func theirRequests(requests []lespay.RequestInfo) (list []theirs.RequestInfo) {
	for _, r := range requests {
		list = append(list, theirs.RequestInfo(r))
	}
	return list
}

type theirTracker struct{ *theirs.NodeValueTracker }

func (nv theirTracker) served(reqType, amount uint32, took time.Duration) {
	nv.Served([]theirs.ServedRequest{{ReqType: reqType, Amount: amount}}, took)
}

// openOurs makes a pool as existing clients do.
func openOurs(t *testing.T, db ethdb.KeyValueStore, requests []lespay.RequestInfo, source ...*enode.Node) *pool {
	s, _ := serverpool.NewServerPool(db, []byte(dbKey), time.Second, nil, testutil.NewBubbleClock(), nil, requests)
	return startOurs(s, source)
}

// slow is a source that brings a node every five minutes, in turns, after it has
// brought each of them once.
type slow struct {
	nodes  []*enode.Node
	i      int
	closed chan struct{}
	close  sync.Once
}

func slowly(nodes []*enode.Node) *slow { return &slow{nodes: nodes, closed: make(chan struct{})} }

func (s *slow) Next() bool {
	var pause time.Duration
	if s.i++; s.i > len(s.nodes) {
		pause = 5 * time.Minute
	}
	select {
	case <-time.After(pause):
		return true
	case <-s.closed:
		return false
	}
}

func (s *slow) Node() *enode.Node { return s.nodes[(s.i-1)%len(s.nodes)] }
func (s *slow) Close()            { s.close.Do(func() { close(s.closed) }) }

// openAsking makes one that asks servers before it dials them, all of which
// promise room. It has a banned node too.
func openAsking(t *testing.T, db ethdb.KeyValueStore, requests []lespay.RequestInfo, source ...*enode.Node) *pool {
	s, err := serverpool.New(serverpool.Config{
		Requests: requests, Store: db, DBKey: []byte(dbKey), Clock: testutil.NewBubbleClock(), Seed: 1,
		Query: func(context.Context, *enode.Node) serverpool.Answer { return serverpool.Yes },
	})
	if err != nil {
		t.Fatal(err)
	}
	p := startOurs(s, source)
	if err := s.Ban(banned, 1000*time.Hour, "served rubbish"); err != nil {
		t.Fatal(err)
	}
	return p
}

func startOurs(s *serverpool.ServerPool, source []*enode.Node) *pool {
	if len(source) > 0 {
		s.AddSource(slowly(source))
	}
	s.Start()
	api := s.API()
	return (&pool{
		it:   s.Iterator(),
		stop: s.Stop,
		register: func(n *enode.Node) (tracker, error) {
			nv, err := s.RegisterNode(n)
			return ourTracker{nv}, err
		},
		unregister: s.UnregisterNode,
		getTimeout: s.GetTimeout,
		dialNode:   s.DialNode,
		value:      api.Value,
		timeout:    api.Timeout,
		distribution: func(node string) ([32][2]float64, error) {
			d, err := api.Distribution(node, false)
			return d, err
		},
		requestStats: api.RequestStats,
		ours:         s,
	}).read()
}

type ourTracker struct{ *lespay.NodeValueTracker }

func (nv ourTracker) served(reqType, amount uint32, took time.Duration) {
	nv.Served([]lespay.ServedRequest{{ReqType: reqType, Amount: amount}}, took)
}

// read calls Next when next asks for it.
func (p *pool) read() *pool {
	p.asked, p.given = make(chan struct{}, 1), make(chan *enode.Node)
	go func() {
		defer close(p.given)
		for range p.asked {
			if !p.it.Next() {
				return
			}
			p.given <- p.it.Node()
		}
	}()
	return p
}

// next returns the next node that the pool gives out, nil if there is none in time.
func (p *pool) next(within time.Duration) *enode.Node {
	select {
	case p.asked <- struct{}{}:
	default: // was asked before
	}
	select {
	case n := <-p.given:
		return n
	case <-time.After(within):
		return nil
	}
}

// close stops the pool and waits for the reader.
func (p *pool) close() {
	p.stop()
	close(p.asked)
	for range p.given { // a node that came at the last moment
	}
}

// theirTrackerServes has the servers serve for hours, without a pool: that gives
// its tracker the clock of the system, by which no time passes in a bubble.
func theirTrackerServes(t *testing.T, db ethdb.KeyValueStore, servers []*enode.Node) {
	const perHour = 1 / float64(time.Hour)
	vt := theirs.NewValueTracker(db, testutil.NewBubbleClock(), theirRequests(listA), time.Minute, perHour, perHour/100, perHour/1000)
	serveForHours(t, servers, func(n *enode.Node) tracker { return theirTracker{vt.Register(n.ID())} })
	for _, n := range servers {
		vt.Unregister(n.ID())
	}
	vt.Stop()
}

// ourTrackerServes does the same with ours.
func ourTrackerServes(t *testing.T, db ethdb.KeyValueStore, servers []*enode.Node) {
	vt, err := lespay.NewValueTracker(lespay.Config{Store: db, Clock: testutil.NewBubbleClock(), Requests: listA})
	if err != nil {
		t.Fatal(err)
	}
	serveForHours(t, servers, func(n *enode.Node) tracker { return ourTracker{vt.Register(n.ID())} })
	vt.Stop()
}
