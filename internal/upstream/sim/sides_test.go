package main

import (
	"context"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	theirs "github.com/ethereum/go-ethereum/les/vflux/client"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil/simnet"
	"github.com/lespool/lespool/serverpool"
)

// sides are the pools that are compared: that of go-ethereum v1.13.5, ours as a
// new light client makes it, and ours as an existing light client does.
var sides = map[string]opener{
	"theirs": openTheirs,
	"ours":   openOurs,
	"compat": openCompat,
}

var requests = []serverpool.RequestInfo{{Name: "any", InitAmount: 1, InitValue: 1}}

const mixTimeout = time.Second // as in go-ethereum's light client

// query asks a server.
type query = func(context.Context, *enode.Node) simnet.Answer

// application is what a pool has to do with, beside the store.
type application struct {
	source     enode.Iterator
	ask        query             // nil: servers are dialed unasked
	disconnect func(*enode.Node) // nil: the pool cannot drop servers
}

// queryFunc is a query as existing pools take it.
func queryFunc(ask query) func(*enode.Node) int {
	return func(n *enode.Node) int {
		switch ask(context.Background(), n) {
		case simnet.Yes:
			return 1
		case simnet.No:
			return 0
		default:
			return -1
		}
	}
}

func openTheirs(tr *trial, app application) opened {
	var f theirs.QueryFunc
	if app.ask != nil {
		f = queryFunc(app.ask)
	}
	pool, it := theirs.NewServerPool(tr.store, dbKey, mixTimeout, f, mclock.System{}, nil,
		[]theirs.RequestInfo{{Name: "any", InitAmount: 1, InitValue: 1}})
	pool.AddSource(app.source)
	pool.Start()
	return opened{
		it: it,
		pool: simnet.Blocking(simnet.BlockingPool{
			Iterator: it,
			Register: func(n *enode.Node) (simnet.Tracker, error) {
				tracker, err := pool.RegisterNode(n)
				if err != nil {
					return nil, err
				}
				tracker.UpdateCosts([]uint64{1})
				return theirTracker{tracker}, nil
			},
			Unregister: pool.UnregisterNode,
			Timeout:    pool.GetTimeout,
		}),
		stop: func() {
			it.Close() // which leaves sources open, if there is a query
			pool.Stop()
			app.source.Close()
		},
	}
}

type theirTracker struct{ *theirs.NodeValueTracker }

func (t theirTracker) Served(after time.Duration) {
	t.NodeValueTracker.Served([]theirs.ServedRequest{{ReqType: 0, Amount: 1}}, after)
}

// Failed does nothing: there is no way to tell.
func (theirTracker) Failed() {}

func openOurs(tr *trial, app application) opened {
	config := serverpool.Config{
		Requests: requests,
		Store:    tr.store,
		DBKey:    dbKey,
		Wanted:   5,
		Clock:    mclock.System{},
		Seed:     tr.seed,
	}
	if app.disconnect != nil {
		config.Disconnect = func(n *enode.Node, _ error) { app.disconnect(n) }
	}
	if app.ask != nil {
		config.Query = func(ctx context.Context, n *enode.Node) serverpool.Answer {
			return [...]serverpool.Answer{serverpool.Silent, serverpool.No, serverpool.Yes}[app.ask(ctx, n)]
		}
	}
	if tr.sc.speed || tr.sc.memory {
		config.QueryRate = -1
	}
	if tr.sc.speed {
		config.NetCap = -1 // theirs has none, and the nodes are of few networks
	}
	pool, err := serverpool.New(config)
	if err != nil {
		tr.t.Fatal(err)
	}
	return startOurs(pool, app.source)
}

func openCompat(tr *trial, app application) opened {
	var f serverpool.QueryFunc
	if app.ask != nil {
		f = queryFunc(app.ask)
	}
	pool, _ := serverpool.NewServerPool(tr.store, dbKey, mixTimeout, f, mclock.System{}, nil, requests)
	return startOurs(pool, app.source)
}

func startOurs(pool *serverpool.ServerPool, source enode.Iterator) opened {
	dialer := func(next simnet.NodeDialer) simnet.NodeDialer { return pool.Dialer(next) }
	pool.AddSource(source)
	b := simnet.BlockingPool{
		Iterator: pool.Iterator(),
		Dialer:   dialer,
		Register: func(n *enode.Node) (simnet.Tracker, error) {
			tracker, err := pool.RegisterNode(n)
			if err != nil {
				return nil, err
			}
			tracker.UpdateCosts([]uint64{1})
			return ourTracker{tracker}, nil
		},
		Unregister: pool.UnregisterNode,
		Timeout:    pool.GetTimeout,
	}
	blocking := simnet.Blocking(b)
	pool.Start()
	return opened{pool: blocking, it: pool.Iterator(), stop: pool.Stop}
}

type ourTracker struct{ *serverpool.NodeValueTracker }

var oneRequest = []serverpool.ServedRequest{{ReqType: 0, Amount: 1}}

func (t ourTracker) Served(after time.Duration) { t.NodeValueTracker.Served(oneRequest, after) }
func (t ourTracker) Failed()                    { t.NodeValueTracker.Failed(oneRequest) }
