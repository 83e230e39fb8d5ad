package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil/simnet"
)

// Two figures of a pool that has met very many nodes, neither of which has to do
// with the servers of the network: each query is answered by yes at once, or by
// no for memory.

// patience is how long speed measures at most. Theirs comes to a stop when the
// dials that were given out time out, 10 s later, which locks a timer's goroutine
// for each.
const patience = time.Minute

// speed measures how many candidates a second the pool gives out in real time,
// until it has read all nodes. It leaves the pool running, as theirs takes long to
// stop.
func (tr *trial) speed() map[string]float64 {
	source := &flood{nodes: make([]*enode.Node, tr.net.Len())}
	for i := range source.nodes {
		source.nodes[i] = tr.net.Node(i)
	}
	pool := tr.open(tr, application{source: source, ask: instantly(simnet.Yes)})
	began := time.Now()
	var candidates atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for source.read.Load() < int64(tr.net.Len()) && pool.it.Next() {
			candidates.Add(1)
		}
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
	return map[string]float64{"speed": float64(candidates.Load()) / time.Since(began).Seconds()}
}

// memory measures the most memory that the pool takes, in bytes, while it reads
// that many nodes in virtual time, 1,000 a second.
func (tr *trial) memory() map[string]float64 {
	const rate = 1000
	base := heap()
	source := tr.net.Stream(rate).Iterator()
	pool := tr.open(tr, application{source: source, ask: instantly(simnet.No)})
	go pool.it.Next()
	var most uint64
	const samples = 20
	for range samples {
		time.Sleep(time.Duration(tr.net.Len()) * time.Second / rate / samples)
		synctest.Wait()
		most = max(most, heap())
	}
	pool.it.Close()
	pool.stop()
	time.Sleep(downtime)
	return map[string]float64{"memory": float64(most) - float64(base)}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// instantly is a query with the same answer for all.
func instantly(answer simnet.Answer) func(context.Context, *enode.Node) simnet.Answer {
	return func(context.Context, *enode.Node) simnet.Answer { return answer }
}

// flood is a source of nodes by turns, which come as fast as they are read.
type flood struct {
	nodes  []*enode.Node
	read   atomic.Int64
	closed atomic.Bool
}

func (f *flood) Next() bool        { f.read.Add(1); return !f.closed.Load() }
func (f *flood) Node() *enode.Node { return f.nodes[int(f.read.Load()-1)%len(f.nodes)] }
func (f *flood) Close()            { f.closed.Store(true) }
