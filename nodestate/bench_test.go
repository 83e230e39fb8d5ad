package nodestate_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// known returns the nodes 0 to count-1, made beforehand.
func known(count int) []*enode.Node {
	nodes := make([]*enode.Node, count)
	for i := range nodes {
		nodes[i] = node(uint64(i))
	}
	return nodes
}

// running is a machine on a clock that stands still, with the nodes in it.
func running(b *testing.B, setup *Setup, subscribe func(ns *NodeStateMachine), keep Flags, nodes []*enode.Node) *NodeStateMachine {
	ns := New(setup, Config{Clock: new(mclock.Simulated)})
	subscribe(ns)
	if err := ns.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(ns.Stop)
	for _, n := range nodes {
		if err := ns.SetState(n, keep, none, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	return ns
}

func nothing(Op, *enode.Node, Flags, Flags) {}

// 8 subscribers of which 1 is hit, 1,000 to 1,000,000 nodes.
func BenchmarkSetState(b *testing.B) {
	for _, count := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("nodes=", count), func(b *testing.B) {
			setup := new(Setup)
			keep := setup.NewFlag("keep")
			var flags [8]Flags
			for i := range flags {
				flags[i] = setup.NewFlag(fmt.Sprint(i))
			}
			nodes := known(count)
			ns := running(b, setup, func(ns *NodeStateMachine) {
				for _, f := range flags {
					ns.SubscribeState(f, nothing)
				}
			}, keep, nodes)
			for i := range b.N {
				n := nodes[i%count]
				if i/count%2 == 0 {
					ns.SetState(n, flags[4], none, 0)
				} else {
					ns.SetState(n, none, flags[4], 0)
				}
			}
		})
	}
}

// The cascade of the package's example, there and back.
func BenchmarkCascade(b *testing.B) {
	setup := new(Setup)
	keep := setup.NewFlag("keep")
	f0, f1, f2, f3 := setup.NewFlag("f0"), setup.NewFlag("f1"), setup.NewFlag("f2"), setup.NewFlag("f3")
	all := MergeFlags(f0, f1, f2, f3)
	ns := running(b, setup, func(ns *NodeStateMachine) {
		ns.SubscribeState(f0, func(op Op, n *enode.Node, _, to Flags) {
			if to.HasAll(f0) {
				op.SetState(n, f1, none, 0)
				op.SetState(n, f2, none, 0)
			}
		})
		ns.SubscribeState(f1, func(op Op, n *enode.Node, _, to Flags) {
			if to.HasAll(f1) {
				op.SetState(n, f3, none, 0)
			}
		})
		ns.SubscribeState(MergeFlags(f1, f2, f3), nothing)
	}, keep, known(1))
	n := node(0)
	for range b.N {
		ns.SetState(n, f0, none, 0)
		ns.SetState(n, none, all, 0)
	}
}

func BenchmarkTimeoutAndCancel(b *testing.B) {
	setup := new(Setup)
	keep, a := setup.NewFlag("keep"), setup.NewFlag("a")
	nodes := known(1000)
	ns := running(b, setup, func(ns *NodeStateMachine) { ns.SubscribeState(a, nothing) }, keep, nodes)
	for i := range b.N {
		n := nodes[i%len(nodes)]
		ns.SetState(n, a, none, time.Second)
		ns.SetState(n, none, a, 0)
	}
}

// 1,024 goroutines, each with a node of its own.
func BenchmarkContention(b *testing.B) {
	const callers = 1024
	setup := new(Setup)
	keep, a := setup.NewFlag("keep"), setup.NewFlag("a")
	nodes := known(callers)
	ns := running(b, setup, func(ns *NodeStateMachine) { ns.SubscribeState(a, nothing) }, keep, nodes)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for k := i; k < b.N; k += callers {
				if k/callers%2 == 0 {
					ns.SetState(nodes[i], a, none, 0)
				} else {
					ns.SetState(nodes[i], none, a, 0)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkGetStateParallel(b *testing.B) {
	setup := new(Setup)
	keep := setup.NewFlag("keep")
	nodes := known(1000)
	ns := running(b, setup, func(*NodeStateMachine) {}, keep, nodes)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if ns.GetState(nodes[i%len(nodes)]).IsEmpty() {
				b.Error("unknown")
			}
		}
	})
}

func BenchmarkSetField(b *testing.B) {
	setup := new(Setup)
	keep := setup.NewFlag("keep")
	f := NewField[uint64](setup, "f")
	nodes := known(1000)
	ns := running(b, setup, func(ns *NodeStateMachine) {
		f.Subscribe(ns, func(Op, *enode.Node, Flags, Value[uint64], Value[uint64]) {})
	}, keep, nodes)
	for i := range b.N {
		f.Set(ns, nodes[i%len(nodes)], uint64(i))
	}
}

// Memory of a machine, a node, without the enode.Node. One round is enough.
func BenchmarkBytesPerNode(b *testing.B) {
	const count = 100_000
	for _, timeout := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprint("timeout=", timeout), func(b *testing.B) {
			nodes := known(count)
			for range b.N {
				setup := new(Setup)
				a := setup.NewFlag("a")
				f := NewField[uint64](setup, "f")
				before := heap()
				ns := New(setup, Config{Clock: new(mclock.Simulated)})
				ns.Start()
				for i, n := range nodes {
					ns.SetState(n, a, none, timeout)
					f.Set(ns, n, uint64(i))
				}
				b.ReportMetric(float64(heap()-before)/count, "B/node")
				ns.Stop()
			}
			runtime.KeepAlive(nodes)
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var st runtime.MemStats
	runtime.ReadMemStats(&st)
	return st.HeapAlloc
}

// 100,000 nodes with a signed record, a flag and a field.
func BenchmarkStart(b *testing.B) {
	db, _ := filled(b, 100_000)
	b.ResetTimer()
	for range b.N {
		s := newSchema()
		ns := New(s.Setup, Config{Store: db, Clock: new(mclock.Simulated)})
		if err := ns.Start(); err != nil || ns.Stats().Nodes != 100_000 {
			b.Fatal(err, ns.Stats().Nodes)
		}
		b.StopTimer()
		ns.Stop()
		b.StartTimer()
	}
}

func BenchmarkStop(b *testing.B) {
	db, nodes := filled(b, 100_000)
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		s := newSchema()
		ns := New(s.Setup, Config{Store: db, Clock: new(mclock.Simulated)})
		ns.Start()
		for _, n := range nodes {
			s.num.Set(ns, n, uint64(round))
		}
		b.StartTimer()
		ns.Stop()
	}
}

func filled(b *testing.B, count int) (Store, []*enode.Node) {
	db, err := leveldb.New(b.TempDir(), 64, 64, "", false)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	record := testutil.Node(1, 1, "10.0.0.1")
	nodes := make([]*enode.Node, count)
	batch := db.NewBatch()
	for i := range nodes {
		nodes[i] = testutil.FakeNode(uint64(i), 1)
		id := nodes[i].ID()
		batch.Put(id[:], entry{Record: record.Record(), Version: 7, State: 2, Fields: [][]byte{{5}}}.encode(b))
		if i%1000 == 999 {
			if err := batch.Write(); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	return db, nodes
}
