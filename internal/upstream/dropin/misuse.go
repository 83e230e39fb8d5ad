package main

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

// What goes wrong in an existing client. A pool that panicked may hold its locks
// for ever: each case has one of its own, which is left as it is.

func runMisuse(r *report) {
	for _, c := range []struct {
		name string
		do   func(*serverPool, enode.Iterator) any
	}{
		{"a server announces too few costs", func(p *serverPool, _ enode.Iterator) any {
			register(p).UpdateCosts([]uint64{1})
			return "survived"
		}},
		{"an answer to a request of unknown type", func(p *serverPool, _ enode.Iterator) any {
			register(p).Served([]servedRequest{{ReqType: 7, Amount: 1}}, time.Second)
			return "survived"
		}},
		{"RegisterNode after Stop", func(p *serverPool, it enode.Iterator) any {
			it.Close()
			p.Stop()
			tracker, err := p.RegisterNode(fakeNode(1))
			return fmt.Sprintf("tracker: %v, error: %v", tracker != nil, err != nil)
		}},
		{"Stop, the second time", func(p *serverPool, it enode.Iterator) any {
			it.Close()
			p.Stop()
			p.Stop()
			return "survived"
		}},
		{"UnregisterNode of a stranger", func(p *serverPool, _ enode.Iterator) any {
			p.UnregisterNode(fakeNode(1))
			return "survived"
		}},
		{"RegisterNode twice gives one tracker", func(p *serverPool, _ enode.Iterator) any {
			first := register(p)
			return register(p) == first
		}},
		{"the source brings a connected server and another, given out is", func(p *serverPool, it enode.Iterator) any {
			register(p)
			it.Next()
			return []string{"", "the connected one", "the other one"}[it.Node().ID()[0]]
		}},
	} {
		r.add(c.name, survive(c.do))
	}
}

// survive runs a case on a pool with a source of two nodes and no query.
func survive(do func(*serverPool, enode.Iterator) any) (outcome any) {
	defer func() {
		if recover() != nil {
			outcome = "a panic"
		}
	}()
	pool, it := newServerPool(memorydb.New(), []byte("p:"), time.Second, nil, mclock.System{}, nil, requestList)
	pool.AddSource(enode.IterNodes([]*enode.Node{fakeNode(1), fakeNode(2)}))
	pool.Start()
	return do(pool, it)
}

func register(p *serverPool) *nodeValueTracker {
	tracker, err := p.RegisterNode(fakeNode(1))
	if err != nil {
		panic(err)
	}
	return tracker
}

// fakeNode has an id that begins with i, and an address.
func fakeNode(i byte) *enode.Node {
	var r enr.Record
	r.Set(enr.IPv4{192, 0, i, 1})
	r.Set(enr.TCP(30303))
	return enode.SignNull(&r, enode.ID{i})
}
