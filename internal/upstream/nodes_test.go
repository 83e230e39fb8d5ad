package upstream

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
)

// This file holds what both sides work on.

const (
	numNodes        = 1000
	numSubscribers  = 8
	hitSubscriber   = 3 // the one that is called, in the middle of the list
	timedSubscriber = 4 // likewise, when there is a timeout
	numCallers      = 1024
)

// makeNodes returns nodes with random ids, in an order that has nothing to do
// with their order in memory, so that the hardware does not foresee which is
// next.
func makeNodes(count int) []*enode.Node {
	rnd := rand.New(rand.NewPCG(1, 2))
	nodes := make([]*enode.Node, count)
	for i := range nodes {
		var r enr.Record
		r.SetSeq(1)
		nodes[i] = enode.SignNull(&r, randomID(rnd))
	}
	rnd.Shuffle(count, func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes
}

func randomID(rnd *rand.Rand) (id enode.ID) {
	for i := 0; i < len(id); i += 8 {
		binary.BigEndian.PutUint64(id[i:], rnd.Uint64())
	}
	return id
}

// turns goes through the nodes again and again.
type turns struct {
	nodes []*enode.Node
	i     int
	odd   bool // on the way through for the first, third, … time
}

func (t *turns) next() *enode.Node {
	if t.i == 0 {
		t.odd = !t.odd
	}
	n := t.nodes[t.i]
	if t.i++; t.i == len(t.nodes) {
		t.i = 0
	}
	return n
}

// firstValue is the first of the values that the fields get. Go keeps the
// numbers below 256 at hand as interface values; larger ones cost a side that
// boxes them an allocation.
const firstValue = 1 << 20

// standingTimeout returns how long the i-th node's timeout runs that is not
// part of the work. The order in time is not that of the nodes.
func standingTimeout(i int) time.Duration {
	return time.Hour + time.Duration(uint64(i)*0x9e3779b97f4a7c15>>32)*time.Microsecond
}

// workTimeout comes before some of the standing ones and after others.
const workTimeout = 90 * time.Minute

// bytesPerNode reports how much memory build takes for each node. A map has
// more or less spare room depending on how lately it grew, so the sizes go
// evenly through one doubling.
func bytesPerNode(b *testing.B, build func(nodes []*enode.Node) any) {
	var bytes, nodes uint64
	for b.Loop() {
		for _, size := range []int{50_000, 60_000, 71_000, 84_000} {
			list := makeNodes(size)
			before := heapInUse()
			machine := build(list)
			bytes += heapInUse() - before
			nodes += uint64(size)
			runtime.KeepAlive(machine)
			runtime.KeepAlive(list)
		}
	}
	b.ReportMetric(float64(bytes)/float64(nodes), "B/node")
	b.ReportMetric(0, "ns/op") // not what is measured
}

func heapInUse() uint64 {
	collectGarbage()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// collectGarbage has no measured call pay for what was made before.
func collectGarbage() {
	runtime.GC()
	runtime.GC() // what had finalizers
}

// forGrowth runs f for each number of nodes for which the time of a call is
// measured; the largest takes long to set up and is left out by -short.
func forGrowth(b *testing.B, f func(b *testing.B, size int)) {
	for _, size := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			if testing.Short() && size > 100_000 {
				b.Skip("takes long to set up")
			}
			f(b, size)
		})
	}
}
