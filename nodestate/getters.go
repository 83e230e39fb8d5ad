package nodestate

import (
	"iter"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// GetState returns the flags of n; none when it is unknown. It may be called
// anywhere and waits for no operation.
func (ns *NodeStateMachine) GetState(n *enode.Node) Flags {
	if n == nil {
		return Flags{}
	}
	if nd := ns.table.lookUp(n); nd != nil {
		return Flags{nd.state.Load(), ns.setup}
	}
	return Flags{}
}

// TimeoutOf returns when the first of the given flags of n will be reset by a
// timeout; ok is false if none of them has one running. It may be called anywhere
// and waits for no operation.
func (ns *NodeStateMachine) TimeoutOf(n *enode.Node, flags Flags) (at mclock.AbsTime, ok bool) {
	mask := ns.maskOf(flags)
	if n == nil {
		return 0, false
	}
	nd := ns.table.lookUp(n)
	if nd == nil {
		return 0, false
	}
	sh := ns.table.shardOf(nd)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for to := nd.timers; to != nil; to = to.next {
		if to.mask&mask != 0 && (!ok || to.at < at) {
			at, ok = to.at, true
		}
	}
	return at, ok
}

// GetNode returns the newest known record of a node, nil when it is unknown.
// It may be called anywhere and waits for no operation.
func (ns *NodeStateMachine) GetNode(id enode.ID) *enode.Node {
	if nd := ns.table.lookUpID(&id, nil); nd != nil {
		return nd.record.Load()
	}
	return nil
}

// ForEach calls cb for every node that has all flags of require and none of
// disable, ordered by id, with the state that it had when ForEach was called.
// While an operation runs on another goroutine some of its changes may be seen
// and others not. ForEach may be called anywhere; cb is called without a lock.
func (ns *NodeStateMachine) ForEach(require, disable Flags, cb func(n *enode.Node, state Flags)) {
	for n, state := range ns.All(require, disable) {
		cb(n, state)
	}
}

// All is [NodeStateMachine.ForEach] as an iterator. The snapshot is taken when
// the iteration begins.
func (ns *NodeStateMachine) All(require, disable Flags) iter.Seq2[*enode.Node, Flags] {
	req, dis := ns.maskOf(require), ns.maskOf(disable)
	return func(yield func(*enode.Node, Flags) bool) {
		for _, st := range ns.table.snapshot(req, dis) {
			if !yield(st.record, Flags{st.state, ns.setup}) {
				return
			}
		}
	}
}
