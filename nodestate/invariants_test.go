//go:build invariants

package nodestate_test

import (
	"fmt"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	. "github.com/lespool/lespool/nodestate"
)

// A blocking call inside a callback, of each kind: the message names the call
// and the callback, and the machine is usable afterwards.
func TestBlockingCallInsideCallbackIsNamed(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "f")
	tb := lay(t, setup, Config{})
	ns := tb.NodeStateMachine
	var misuse func()
	ns.SubscribeState(a, func(Op, *enode.Node, Flags, Flags) { misuse() })
	require.NoError(t, ns.Start())
	calls := map[string]func(){
		"SetState":    func() { ns.SetState(node(1), a, none, 0) },
		"AddTimeout":  func() { ns.AddTimeout(node(1), a, 0) },
		"Operation":   func() { ns.Operation(func(Op) {}) },
		"Field.Set":   func() { f.Set(ns, node(1), 1) },
		"Field.Clear": func() { f.Clear(ns, node(1)) },
		"Stop":        ns.Stop,
		"Start":       func() { ns.Start() },
	}
	for name, call := range calls {
		misuse = call
		msg := fmt.Sprint(panicOf(func() { ns.SetState(node(2), a, none, 0) }))
		require.Contains(t, msg, name+" called inside callback")
		require.Contains(t, msg, "TestBlockingCallInsideCallbackIsNamed.func", "which callback")
		require.Contains(t, msg, "use the callback's Op")
		misuse = func() {}
		require.NoError(t, ns.SetState(node(2), none, a, 0))

		msg = fmt.Sprint(panicOf(func() { ns.Operation(func(Op) { call() }) }))
		require.Contains(t, msg, name+" called inside callback Operation")
	}
}

// Two subscribers toss a node back and forth for ever: the panic shows the
// circle.
func TestEndlessCascadeIsNamed(t *testing.T) {
	setup := new(Setup)
	tic, tac := setup.NewFlag("tic"), setup.NewFlag("tac")
	ns := lay(t, setup, Config{})
	toss := func(from, to Flags) {
		ns.SubscribeState(from, func(op Op, n *enode.Node, _, now Flags) {
			if now.HasAll(from) {
				op.SetState(n, to, from, 0)
			}
		})
	}
	toss(tic, tac)
	toss(tac, tic)
	require.NoError(t, ns.Start())
	msg := fmt.Sprint(panicOf(func() { ns.SetState(node(1), tic, none, 0) }))
	require.Contains(t, msg, "more than 10000 callbacks")
	require.Contains(t, msg, node(1).ID().String())
	require.Contains(t, msg, "[tic]→[tac], ")
	require.NoError(t, ns.SetState(node(2), none, tic, 0), "usable")
}

// The same with a field.
func TestEndlessFieldCascadeIsNamed(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	f := NewField[int](setup, "hot potato")
	ns := lay(t, setup, Config{})
	f.Subscribe(ns.NodeStateMachine, func(op Op, n *enode.Node, _ Flags, _, to Value[int]) {
		if to.Ok {
			f.SetIn(op, n, to.V+1)
		}
	})
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.Contains(t, panicOf(func() { f.Set(ns.NodeStateMachine, node(1), 0) }), "field hot potato")
}

// Ten thousand callbacks for ten thousand nodes are no loop.
func TestLongCascadeIsNoLoop(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	ns.SubscribeState(a, func(op Op, n *enode.Node, _, to Flags) {
		if i := n.Seq(); to.HasAll(a) && i < 20_000 {
			op.SetState(nodeSeq(i+1, i+1), a, none, 0)
		}
	})
	require.NoError(t, ns.Start())
	require.Nil(t, panicOf(func() { ns.SetState(nodeSeq(1, 1), a, none, 0) }))
}
