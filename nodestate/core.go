package nodestate

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// This file changes nodes. Everything in it runs inside an operation.

// setState applies a change of flags and queues its consequences.
func (ns *NodeStateMachine) setState(n *enode.Node, set, reset uint64, timeout time.Duration) {
	nd := ns.table.find(n.ID())
	if nd == nil {
		if set == 0 {
			return
		}
		nd = ns.create(n)
	} else {
		ns.adopt(nd, n)
	}
	if nd.timers != nil || timeout > 0 && set != 0 {
		timed := uint64(0)
		if timeout > 0 {
			timed = set
		}
		ns.replaceTimeouts(nd, set|reset, timed, timeout)
	}
	ns.apply(nd, set, reset)
}

// reset takes flags from a node whose timeout has come.
func (ns *NodeStateMachine) reset(nd *node, mask uint64) {
	ns.replaceTimeouts(nd, mask, 0, 0)
	ns.apply(nd, 0, mask)
}

func (ns *NodeStateMachine) apply(nd *node, set, reset uint64) {
	from := nd.state.Load()
	to := from&^reset | set
	if to == from {
		ns.noteFlagless(nd)
		return
	}
	nd.state.Store(to)
	nd.told = nd.told && to == 0
	if (from^to)&ns.persistent != 0 {
		ns.markDirty(nd)
	}
	ns.pushState(nd, from, to)
	ns.noteFlagless(nd)
}

func (ns *NodeStateMachine) pushState(nd *node, from, to uint64) {
	ns.queue.push(change{nd: nd, from: from, to: to, field: stateChange})
}

// replaceTimeouts cancels the timeouts of the flags in cancel, then starts one
// for the flags in timed.
func (ns *NodeStateMachine) replaceTimeouts(nd *node, cancel, timed uint64, d time.Duration) {
	sh := &ns.table.shards[nd.shard]
	before := nd.timedFlags()
	sh.mu.Lock()
	for to := nd.strip(cancel); to != nil; to = to.next {
		ns.timeouts.remove(to)
	}
	if timed != 0 && ns.phase.Load() == phaseRunning {
		to := ns.timeouts.add(nd, timed, ns.clock.Now().Add(d))
		to.next, nd.timers = nd.timers, to
	}
	sh.mu.Unlock()
	if (before^nd.timedFlags())&ns.persistent != 0 {
		ns.markDirty(nd)
	}
}

// create adds a node, which stays only if it has a flag at the end.
func (ns *NodeStateMachine) create(n *enode.Node) *node {
	nd := ns.table.insert(n)
	ns.noteFlagless(nd)
	return nd
}

// adopt keeps the newer of two records.
func (ns *NodeStateMachine) adopt(nd *node, n *enode.Node) {
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
		if !nd.told {
			nd.told = true
			for _, col := range ns.columns {
				col.clear(ns, nd)
			}
			if ns.queue.len() > 0 {
				ns.noteFlagless(nd)
				continue
			}
		}
		ns.forget(nd)
	}
	if len(ns.flagless) == 0 {
		ns.flagless = list[:0]
	}
	return ns.queue.len() > 0
}

// forget removes a node from memory and, at the next flush, from the store.
func (ns *NodeStateMachine) forget(nd *node) {
	if nd.timers != nil {
		ns.replaceTimeouts(nd, ^uint64(0), 0, 0)
	}
	id := nd.record.Load().ID()
	sh := &ns.table.shards[nd.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, col := range ns.columns {
		col.drop(nd)
	}
	delete(sh.nodes, id)
	sh.free = append(sh.free, nd.slot)
	if nd.stored {
		nd.stored = false
		ns.saver.delete(id)
	}
}
