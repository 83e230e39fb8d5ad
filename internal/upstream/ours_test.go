package upstream

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// ourWorld is this project's machine with nodes that all have the flag known.
// Each of the flags has a subscriber, and so has the field.
type ourWorld struct {
	ns      *nodestate.NodeStateMachine
	nodes   []*enode.Node
	known   nodestate.Flags
	waiting nodestate.Flags // has no subscriber
	flags   [numSubscribers]nodestate.Flags
	field   nodestate.Field[uint64]
	calls   int
	sum     uint64
}

func newOurWorld(count int) *ourWorld {
	setup := &nodestate.Setup{}
	w := &ourWorld{
		nodes:   makeNodes(count),
		known:   setup.NewFlag("known"),
		waiting: setup.NewFlag("waiting"),
		field:   nodestate.NewField[uint64](setup, "field"),
	}
	for i := range w.flags {
		w.flags[i] = setup.NewFlag(fmt.Sprint("flag", i))
	}
	w.ns = nodestate.New(setup, nodestate.Config{Clock: mclock.System{}})
	for _, f := range w.flags {
		w.ns.SubscribeState(f, func(_ nodestate.Op, _ *enode.Node, _, _ nodestate.Flags) { w.calls++ })
	}
	w.field.Subscribe(w.ns, func(_ nodestate.Op, _ *enode.Node, _ nodestate.Flags, _, newValue nodestate.Value[uint64]) {
		w.calls++
		w.sum += newValue.V
	})
	w.ns.Start()
	for _, n := range w.nodes {
		w.ns.SetState(n, w.known, nodestate.Flags{}, 0)
	}
	return w
}

// addTimeouts gives every node a timeout that runs all the time.
func (w *ourWorld) addTimeouts() {
	for i, n := range w.nodes {
		w.ns.SetState(n, w.waiting, nodestate.Flags{}, standingTimeout(i))
	}
}

func (w *ourWorld) setState(b *testing.B) {
	b.ReportAllocs()
	t, flag := turns{nodes: w.nodes}, w.flags[hitSubscriber]
	for b.Loop() {
		if n := t.next(); t.odd {
			w.ns.SetState(n, flag, nodestate.Flags{}, 0)
		} else {
			w.ns.SetState(n, nodestate.Flags{}, flag, 0)
		}
	}
}

func (w *ourWorld) timeout(b *testing.B) {
	b.ReportAllocs()
	t, flag := turns{nodes: w.nodes}, w.flags[timedSubscriber]
	for b.Loop() {
		n := t.next()
		w.ns.SetState(n, flag, nodestate.Flags{}, workTimeout)
		w.ns.SetState(n, nodestate.Flags{}, flag, 0)
	}
}

func (w *ourWorld) getState(b *testing.B) {
	b.ReportAllocs()
	var started atomic.Int64
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i := int(started.Add(1)) * 7919 % len(w.nodes)
		t := turns{nodes: w.nodes, i: i}
		for pb.Next() {
			if w.ns.GetState(t.next()).IsEmpty() {
				b.Error("a known node has no state")
			}
		}
	})
}

func (w *ourWorld) setField(b *testing.B) {
	b.ReportAllocs()
	t, value := turns{nodes: w.nodes}, uint64(firstValue)
	for b.Loop() {
		w.field.Set(w.ns, t.next(), value)
		value++
	}
}

func BenchmarkOursSetState(b *testing.B) { newOurWorld(numNodes).setState(b) }

func BenchmarkOursTimeout(b *testing.B) {
	w := newOurWorld(numNodes)
	w.addTimeouts()
	w.timeout(b)
}

func BenchmarkOursGetState(b *testing.B) { newOurWorld(numNodes).getState(b) }

func BenchmarkOursField(b *testing.B) { newOurWorld(numNodes).setField(b) }

func BenchmarkOursCallers(b *testing.B) {
	w := newOurWorld(numCallers)
	b.ReportAllocs()
	together(b, w.nodes, func(n *enode.Node, set bool) {
		if flag := w.flags[hitSubscriber]; set {
			w.ns.SetState(n, flag, nodestate.Flags{}, 0)
		} else {
			w.ns.SetState(n, nodestate.Flags{}, flag, 0)
		}
	})
}

func BenchmarkOursCascade(b *testing.B) { newOurCascade().cascade(b) }

func (w *ourWorld) cascade(b *testing.B) {
	b.ReportAllocs()
	t := turns{nodes: w.nodes}
	for b.Loop() {
		if n := t.next(); t.odd {
			w.ns.SetState(n, w.flags[0], nodestate.Flags{}, 0)
		} else {
			w.ns.SetState(n, nodestate.Flags{}, w.flags[0], 0)
		}
	}
}

// newOurCascade makes a machine in which flag 0 brings flags 1 and 2, flag 1
// brings flag 3, a third subscriber watches, and all of them go as they came.
func newOurCascade() *ourWorld {
	setup := &nodestate.Setup{}
	w := &ourWorld{nodes: makeNodes(numNodes), known: setup.NewFlag("known")}
	f := w.flags[:4]
	for i := range f {
		f[i] = setup.NewFlag(fmt.Sprint("flag", i))
	}
	w.ns = nodestate.New(setup, nodestate.Config{Clock: mclock.System{}})
	follow := func(op nodestate.Op, n *enode.Node, leader, state, follower nodestate.Flags) {
		w.calls++
		if state.HasAll(leader) {
			op.SetState(n, follower, nodestate.Flags{}, 0)
		} else {
			op.SetState(n, nodestate.Flags{}, follower, 0)
		}
	}
	w.ns.SubscribeState(f[0], func(op nodestate.Op, n *enode.Node, _, newState nodestate.Flags) {
		follow(op, n, f[0], newState, f[1])
		follow(op, n, f[0], newState, f[2])
	})
	w.ns.SubscribeState(f[1], func(op nodestate.Op, n *enode.Node, _, newState nodestate.Flags) {
		follow(op, n, f[1], newState, f[3])
	})
	w.ns.SubscribeState(nodestate.MergeFlags(f[1], f[2], f[3]), func(_ nodestate.Op, _ *enode.Node, _, _ nodestate.Flags) {
		w.calls++
	})
	w.ns.Start()
	for _, n := range w.nodes {
		w.ns.SetState(n, w.known, nodestate.Flags{}, 0)
	}
	return w
}

func BenchmarkOursBytes(b *testing.B) {
	bytesPerNode(b, func(nodes []*enode.Node) any { return newOurCrowd(nodes, false) })
}

func BenchmarkOursBytesTimeout(b *testing.B) {
	bytesPerNode(b, func(nodes []*enode.Node) any { return newOurCrowd(nodes, true) })
}

// newOurCrowd makes a machine whose nodes have one flag and one field, and
// the flag a timeout if they are timed.
func newOurCrowd(nodes []*enode.Node, timed bool) *nodestate.NodeStateMachine {
	setup := &nodestate.Setup{}
	flag, field := setup.NewFlag("flag"), nodestate.NewField[uint64](setup, "field")
	ns := nodestate.New(setup, nodestate.Config{Clock: mclock.System{}})
	ns.Start()
	for i, n := range nodes {
		if timed {
			ns.SetState(n, flag, nodestate.Flags{}, standingTimeout(i))
		} else {
			ns.SetState(n, flag, nodestate.Flags{}, 0)
		}
		field.Set(ns, n, firstValue+uint64(i))
	}
	return ns
}

func BenchmarkOursGrowth(b *testing.B) {
	forGrowth(b, func(b *testing.B, size int) {
		w := newOurWorld(size)
		b.Run("SetState", w.setState)
		b.Run("GetState", w.getState)
		b.Run("Field", w.setField)
		w.addTimeouts()
		b.Run("Timeout", w.timeout)
	})
}
