package main

import (
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/internal/testutil/simnet"
	"github.com/lespool/lespool/serverpool"
)

const (
	wanted        = 5  // servers
	discoveryRate = 10 // nodes a second
)

// world is a network and the client in it.
type world struct {
	clock *testutil.Clock
	net   *simnet.Network
	sc    scenario
	seed  uint64
	store *memorydb.Database
}

func newWorld(sc scenario, config simnet.Config) (*world, error) {
	clock := new(testutil.Clock)
	network, err := simnet.New(config, clock)
	if err != nil {
		return nil, err
	}
	return &world{clock: clock, net: network, sc: sc, seed: config.Seed, store: memorydb.New()}, nil
}

// now is the date in the world.
func (w *world) now() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(w.clock.Now()))
}

// start has the client start, and returns what ends it.
func (w *world) start() (client *simnet.Client, stop func(), err error) {
	client = simnet.NewClient(w.net, simnet.ClientConfig{Wanted: wanted})
	var ask func(*enode.Node, func(serverpool.Answer))
	if !w.sc.noQuery {
		ask = func(n *enode.Node, answered func(serverpool.Answer)) {
			client.Query(n, func(a simnet.Answer) { answered(answers[a]) })
		}
	}
	pool, stepper, err := serverpool.NewStepped(serverpool.Config{
		Requests:   []serverpool.RequestInfo{{Name: "any", InitAmount: 1, InitValue: 1}},
		Store:      w.store,
		Wanted:     wanted,
		Disconnect: func(n *enode.Node, _ error) { client.Disconnect(n) },
		Clock:      w.clock,
		WallClock:  w.now,
		Seed:       w.seed,
	}, ask)
	if err != nil {
		return nil, nil, err
	}
	pool.Start()
	source := w.net.Stream(discoveryRate)
	if w.sc.list > 0 {
		source = w.net.List(w.sc.list, discoveryRate)
	}
	starve := source.Feed(func(n *enode.Node) { stepper.Discover(n) }, func() bool {
		return stepper.Undiscovered() < max(w.sc.list, 1)
	})
	client.Start(&steppedPool{pool: pool, stepper: stepper, dials: make(map[enode.ID]*serverpool.SteppedDial)})
	return client, func() {
		starve()
		client.Stop()
		pool.Stop()
	}, nil
}

// answers of the network, in the words of the pool.
var answers = map[simnet.Answer]serverpool.Answer{
	simnet.Silence: serverpool.Silent, simnet.No: serverpool.No, simnet.Yes: serverpool.Yes,
}

// crash has the store forget what is written from now on.
func (w *world) crash() error {
	survivor := memorydb.New()
	it := w.store.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		if err := survivor.Put(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	w.store = survivor
	return nil
}

// steppedPool is a pool without goroutines as the client wants it.
type steppedPool struct {
	pool    *serverpool.ServerPool
	stepper *serverpool.Stepper
	dials   map[enode.ID]*serverpool.SteppedDial
}

func (p *steppedPool) Next(f func(*enode.Node))         { p.stepper.Next(f) }
func (p *steppedPool) DialBegins(n *enode.Node)         { p.dials[n.ID()] = p.stepper.DialBegins(n) }
func (p *steppedPool) DialConnects(n *enode.Node)       { p.dials[n.ID()].Connected() }
func (p *steppedPool) DialFails(n *enode.Node, _ error) { p.Refused(n) }

func (p *steppedPool) Refused(n *enode.Node) {
	p.dials[n.ID()].Failed()
	delete(p.dials, n.ID())
}

func (p *steppedPool) Register(n *enode.Node) (simnet.Tracker, error) {
	delete(p.dials, n.ID())
	tracker, err := p.pool.RegisterNode(n)
	return servedTracker{tracker}, err
}

func (p *steppedPool) Unregister(n *enode.Node) { p.pool.UnregisterNode(n) }
func (p *steppedPool) Timeout() time.Duration   { return p.pool.GetTimeout() }

type servedTracker struct{ *serverpool.NodeValueTracker }

var oneRequest = []serverpool.ServedRequest{{ReqType: 0, Amount: 1}}

func (t servedTracker) Served(after time.Duration) { t.NodeValueTracker.Served(oneRequest, after) }
func (t servedTracker) Failed()                    { t.NodeValueTracker.Failed(oneRequest) }
