package upstream

import (
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	geth "github.com/ethereum/go-ethereum/p2p/nodestate"
)

// theirWorld is go-ethereum's machine with nodes that all have the flag known.
// Each of the flags has a subscriber, and so has the field.
type theirWorld struct {
	ns      *geth.NodeStateMachine
	nodes   []*enode.Node
	known   geth.Flags
	waiting geth.Flags // has no subscriber
	flags   [numSubscribers]geth.Flags
	field   geth.Field
	calls   int
	sum     uint64
}

func newTheirWorld(count int) *theirWorld {
	setup := &geth.Setup{}
	w := &theirWorld{
		nodes:   makeNodes(count),
		known:   setup.NewFlag("known"),
		waiting: setup.NewFlag("waiting"),
		field:   setup.NewField("field", reflect.TypeOf(uint64(0))),
	}
	for i := range w.flags {
		w.flags[i] = setup.NewFlag(fmt.Sprint("flag", i))
	}
	w.ns = geth.NewNodeStateMachine(nil, nil, mclock.System{}, setup)
	for _, f := range w.flags {
		w.ns.SubscribeState(f, func(_ *enode.Node, _, _ geth.Flags) { w.calls++ })
	}
	w.ns.SubscribeField(w.field, func(_ *enode.Node, _ geth.Flags, _, newValue interface{}) {
		w.calls++
		w.sum += newValue.(uint64)
	})
	w.ns.Start()
	for _, n := range w.nodes {
		w.ns.SetState(n, w.known, geth.Flags{}, 0)
	}
	return w
}

// addTimeouts gives every node a timeout that runs all the time.
func (w *theirWorld) addTimeouts() {
	for i, n := range w.nodes {
		w.ns.SetState(n, w.waiting, geth.Flags{}, standingTimeout(i))
	}
}

func (w *theirWorld) setState(b *testing.B) {
	b.ReportAllocs()
	t, flag := turns{nodes: w.nodes}, w.flags[hitSubscriber]
	for b.Loop() {
		if n := t.next(); t.odd {
			w.ns.SetState(n, flag, geth.Flags{}, 0)
		} else {
			w.ns.SetState(n, geth.Flags{}, flag, 0)
		}
	}
}

func (w *theirWorld) timeout(b *testing.B) {
	b.ReportAllocs()
	t, flag := turns{nodes: w.nodes}, w.flags[timedSubscriber]
	for b.Loop() {
		n := t.next()
		w.ns.SetState(n, flag, geth.Flags{}, workTimeout)
		w.ns.SetState(n, geth.Flags{}, flag, 0)
	}
}

func (w *theirWorld) getState(b *testing.B) {
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

func (w *theirWorld) setField(b *testing.B) {
	b.ReportAllocs()
	t, value := turns{nodes: w.nodes}, uint64(firstValue)
	for b.Loop() {
		w.ns.SetField(t.next(), w.field, value)
		value++
	}
}

func BenchmarkTheirsSetState(b *testing.B) { newTheirWorld(numNodes).setState(b) }

func BenchmarkTheirsTimeout(b *testing.B) {
	w := newTheirWorld(numNodes)
	w.addTimeouts()
	w.timeout(b)
}

func BenchmarkTheirsGetState(b *testing.B) { newTheirWorld(numNodes).getState(b) }

func BenchmarkTheirsField(b *testing.B) { newTheirWorld(numNodes).setField(b) }

func BenchmarkTheirsCallers(b *testing.B) {
	w := newTheirWorld(numCallers)
	b.ReportAllocs()
	together(b, w.nodes, func(n *enode.Node, set bool) {
		if flag := w.flags[hitSubscriber]; set {
			w.ns.SetState(n, flag, geth.Flags{}, 0)
		} else {
			w.ns.SetState(n, geth.Flags{}, flag, 0)
		}
	})
}

func BenchmarkTheirsCascade(b *testing.B) { newTheirCascade().cascade(b) }

func (w *theirWorld) cascade(b *testing.B) {
	b.ReportAllocs()
	t := turns{nodes: w.nodes}
	for b.Loop() {
		if n := t.next(); t.odd {
			w.ns.SetState(n, w.flags[0], geth.Flags{}, 0)
		} else {
			w.ns.SetState(n, geth.Flags{}, w.flags[0], 0)
		}
	}
}

// newTheirCascade makes a machine in which flag 0 brings flags 1 and 2, flag 1
// brings flag 3, a third subscriber watches, and all of them go as they came.
func newTheirCascade() *theirWorld {
	setup := &geth.Setup{}
	w := &theirWorld{nodes: makeNodes(numNodes), known: setup.NewFlag("known")}
	f := w.flags[:4]
	for i := range f {
		f[i] = setup.NewFlag(fmt.Sprint("flag", i))
	}
	w.ns = geth.NewNodeStateMachine(nil, nil, mclock.System{}, setup)
	follow := func(n *enode.Node, leader, state, follower geth.Flags) {
		w.calls++
		if state.HasAll(leader) {
			w.ns.SetStateSub(n, follower, geth.Flags{}, 0)
		} else {
			w.ns.SetStateSub(n, geth.Flags{}, follower, 0)
		}
	}
	w.ns.SubscribeState(f[0], func(n *enode.Node, _, newState geth.Flags) {
		follow(n, f[0], newState, f[1])
		follow(n, f[0], newState, f[2])
	})
	w.ns.SubscribeState(f[1], func(n *enode.Node, _, newState geth.Flags) {
		follow(n, f[1], newState, f[3])
	})
	w.ns.SubscribeState(geth.MergeFlags(f[1], f[2], f[3]), func(_ *enode.Node, _, _ geth.Flags) {
		w.calls++
	})
	w.ns.Start()
	for _, n := range w.nodes {
		w.ns.SetState(n, w.known, geth.Flags{}, 0)
	}
	return w
}

func BenchmarkTheirsBytes(b *testing.B) {
	bytesPerNode(b, func(nodes []*enode.Node) any { return newTheirCrowd(nodes, false) })
}

func BenchmarkTheirsBytesTimeout(b *testing.B) {
	bytesPerNode(b, func(nodes []*enode.Node) any { return newTheirCrowd(nodes, true) })
}

// newTheirCrowd makes a machine whose nodes have one flag and one field, and
// the flag a timeout if they are timed.
func newTheirCrowd(nodes []*enode.Node, timed bool) *geth.NodeStateMachine {
	setup := &geth.Setup{}
	flag, field := setup.NewFlag("flag"), setup.NewField("field", reflect.TypeOf(uint64(0)))
	ns := geth.NewNodeStateMachine(nil, nil, mclock.System{}, setup)
	ns.Start()
	for i, n := range nodes {
		if timed {
			ns.SetState(n, flag, geth.Flags{}, standingTimeout(i))
		} else {
			ns.SetState(n, flag, geth.Flags{}, 0)
		}
		ns.SetField(n, field, firstValue+uint64(i))
	}
	return ns
}

func BenchmarkTheirsGrowth(b *testing.B) {
	forGrowth(b, func(b *testing.B, size int) {
		w := newTheirWorld(size)
		b.Run("SetState", w.setState)
		b.Run("GetState", w.getState)
		b.Run("Field", w.setField)
		w.addTimeouts()
		b.Run("Timeout", w.timeout)
	})
}
