package nodestate

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// This file changes nodes. Everything in it runs inside an operation.

// setState applies a change of flags and queues its consequences.
func (ns *NodeStateMachine) setState(n *enode.Node, set, reset uint64, timeout time.Duration) {
	nd := ns.table.find(n)
	if nd == nil {
		if set == 0 {
			return
		}
		nd = ns.create(n)
	} else {
		ns.adopt(nd, n)
	}
	from := nd.state.Load()
	to := from&^reset | set
	if timed := timeout > 0 && set != 0; timed || nd.timers != nil {
		r := retiming{cancel: set | reset}
		if timed {
			r.start, r.after = set, timeout
		}
		ns.retime(nd, to, r)
	}
	ns.apply(nd, from, to)
}

// expired takes flags from a node whose timeout has come.
func (ns *NodeStateMachine) expired(nd *node, mask uint64) {
	from := nd.state.Load()
	to := from &^ mask
	ns.retime(nd, to, retiming{cancel: mask})
	ns.apply(nd, from, to)
}

// apply gives a node its new state, if retime has not, and queues what follows
// from it.
func (ns *NodeStateMachine) apply(nd *node, from, to uint64) {
	if to != from {
		nd.state.Store(to)
		nd.told = nd.told && to == 0
		if (from^to)&ns.persistent != 0 {
			ns.markDirty(nd)
		}
		ns.queue.push(change{nd: nd, from: from, to: to, field: stateChange})
	}
	ns.noteFlagless(nd)
}

func (ns *NodeStateMachine) pushState(nd *node, from, to uint64) {
	ns.queue.push(change{nd: nd, from: from, to: to, field: stateChange})
}

// retiming is a change of a node's timeouts: those of the flags in cancel end,
// then one for the flags in start begins.
type retiming struct {
	cancel, start uint64
	after         time.Duration
}

// retime changes the timeouts and the state of a node in one step, so that a
// Persist outside the operation takes no flag that has, had or gets a timeout
// for one without.
func (ns *NodeStateMachine) retime(nd *node, state uint64, r retiming) {
	sh := ns.table.shardOf(nd)
	before := nd.timedFlags()
	sh.mu.Lock()
	nd.state.Store(state)
	for to := nd.strip(r.cancel); to != nil; {
		next := to.next
		ns.timeouts.remove(to)
		to = next
	}
	if r.start != 0 && ns.phase.Load() == phaseRunning {
		to := ns.timeouts.add(nd, r.start, later(ns.clock.Now(), r.after))
		to.next, nd.timers = nd.timers, to
	}
	sh.mu.Unlock()
	if (before^nd.timedFlags())&ns.persistent != 0 {
		ns.markDirty(nd)
	}
}

// create adds a node, which stays only if it has a flag at the end.
func (ns *NodeStateMachine) create(n *enode.Node) *node {
	nd := ns.table.insert(n, nil)
	ns.noteFlagless(nd)
	return nd
}

// adopt keeps the newer of two records.
func (ns *NodeStateMachine) adopt(nd *node, n *enode.Node) {
	if nd.record.Load() != n {
		ns.adoptOther(nd, n)
	}
}

func (ns *NodeStateMachine) adoptOther(nd *node, n *enode.Node) {
	if ns.table.adopt(nd, n) {
		ns.markDirty(nd)
	}
}

// noteFlagless has sweep look at a node that may have to be forgotten.
func (ns *NodeStateMachine) noteFlagless(nd *node) {
	if nd.state.Load() == 0 && !nd.listed {
		nd.listed = true
		ns.flagless = append(ns.flagless, nd)
	}
}

// sweep is called whenever the queue is empty. It forgets the nodes that have
// no flag. If fields of one have subscribers these are told first, once: then
// sweep returns true, and the node stays if one of them sets a flag.
func (ns *NodeStateMachine) sweep() bool {
	list := ns.flagless
	ns.flagless = nil
	for i, nd := range list {
		list[i] = nil
		nd.listed = false
		if nd.state.Load() != 0 {
			continue
		}
		if !nd.told && ns.clearFields(nd) {
			nd.told = true
			ns.noteFlagless(nd)
			continue
		}
		ns.forget(nd)
	}
	if len(ns.flagless) == 0 {
		ns.flagless = list[:0]
	}
	return ns.queue.len() > 0
}

// clearFields returns true if there is a subscriber to tell.
func (ns *NodeStateMachine) clearFields(nd *node) bool {
	queued := ns.queue.len()
	for _, col := range ns.columns {
		col.clear(ns, nd)
	}
	return ns.queue.len() > queued
}

// forget removes a node from memory and, at the next flush, from the store.
func (ns *NodeStateMachine) forget(nd *node) {
	ns.unmarkDirty(nd)
	id := nd.record.Load().ID()
	sh := ns.table.shardOf(nd)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, col := range ns.columns {
		col.drop(nd)
	}
	sh.nodes.remove(nd)
	if ns.table.last == nd {
		ns.table.last = nil
	}
	sh.free = append(sh.free, nd.slot)
	if nd.stored {
		nd.stored = false
		ns.saver.delete(id)
	}
}
