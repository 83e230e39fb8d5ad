package nodestate

import (
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// SetState is [Op.SetState] as an operation of its own: it waits for its turn
// and returns when all consequences are over. Not for use inside callbacks.
// Errors: [ErrNotStarted], [ErrClosed], [ErrNoNode].
func (ns *NodeStateMachine) SetState(n *enode.Node, set, reset Flags, timeout time.Duration) error {
	toSet, toReset := ns.settable(set), ns.settable(reset)
	op, err := ns.begin(n, "SetState")
	if err != nil {
		return err
	}
	ns.setState(n, toSet, toReset, timeout) // runs no callback, so there is no defer
	ns.end(op)
	return nil
}

// AddTimeout is [Op.AddTimeout] as an operation of its own. Not for use inside
// callbacks. Errors: [ErrNotStarted], [ErrClosed], [ErrNoNode].
func (ns *NodeStateMachine) AddTimeout(n *enode.Node, flags Flags, d time.Duration) error {
	op, err := ns.begin(n, "AddTimeout")
	if err != nil {
		return err
	}
	defer ns.end(op)
	op.AddTimeout(n, flags, d)
	return nil
}

// Operation runs fn, which makes any number of changes through op, then their
// consequences, as one operation. No other operation comes in between, and no
// callback runs before fn has returned. A panic of fn passes on after the
// consequences of what it had done. Not for use inside callbacks.
// Errors: [ErrNotStarted], [ErrClosed].
func (ns *NodeStateMachine) Operation(fn func(op Op)) error {
	op, err := ns.begin(anyNode, "Operation")
	if err != nil {
		return err
	}
	defer ns.end(op)
	fn(op)
	return nil
}

// anyNode stands for "not about a node" in begin.
var anyNode = new(enode.Node)

// begin waits for the caller's turn. Each begin without error needs an end.
func (ns *NodeStateMachine) begin(n *enode.Node, call string) (Op, error) {
	if n == nil {
		return Op{}, ErrNoNode
	}
	ns.check.blocking(call)
	ns.takeTurn()
	if ns.closing.Load() {
		ns.turn.Unlock()
		return Op{}, ErrClosed
	}
	if ns.phase.Load() == phaseNew {
		ns.turn.Unlock()
		return Op{}, ErrNotStarted
	}
	return ns.open(call), nil
}

// yields is how often a caller lets others run before it waits in the mutex's queue.
// An operation is mostly over sooner than a goroutine is put to sleep and woken, so
// that with a thousand callers at once a few yields make an operation cost a quarter.
// More hardly help, and cost those who wait for a long operation.
const yields = 8

// takeTurn locks turn. The mutex sees to it that none waits for ever.
func (ns *NodeStateMachine) takeTurn() {
	for range yields {
		if ns.turn.TryLock() {
			return
		}
		runtime.Gosched()
	}
	ns.turn.Lock()
}

// open makes the Op of an operation whose turn it is.
func (ns *NodeStateMachine) open(call string) Op {
	ns.check.begin(call)
	return Op{ns, ns.generation}
}

// end calls subscribers until the queue is empty and the nodes left without a
// flag are forgotten, then ends the operation's turn, also while a panic or
// runtime.Goexit is on its way up. A panic of a subscriber takes its way up,
// with its stack, once the rest of the queue has run.
func (ns *NodeStateMachine) end(op Op) {
	defer ns.finish()
	ns.drain(op)
}

func (ns *NodeStateMachine) finish() {
	if ns.queue.len() > 0 {
		ns.finishRest(Op{ns, ns.generation})
	} else {
		ns.close()
	}
}

// finishRest ends an operation in which a subscriber did not return.
func (ns *NodeStateMachine) finishRest(op Op) {
	defer ns.close()
	ns.drainRest(op)
}

// drain calls the subscribers of the oldest change, but for those that were called
// before one of them panicked, until there is none.
func (ns *NodeStateMachine) drain(op Op) {
	for ns.queue.len() > 0 || len(ns.flagless) > 0 && ns.sweep() {
		if c := *ns.queue.front(); c.field == stateChange {
			ns.callStateSubs(op, c)
		} else {
			ns.columns[c.field].callSubs(op, c)
		}
		ns.queue.pop()
		ns.nextSub = 0
	}
}

func (ns *NodeStateMachine) close() {
	if ns.phase.Load() == phaseClosed {
		ns.table.clear()
		ns.timeouts, ns.flagless, ns.dirty = timeouts{}, nil, nil // pinning no node
	} else {
		if len(ns.timeouts.heap) > 0 {
			ns.setAlarm()
		}
		if ns.hasUnwritten() {
			ns.setFlushTimer()
		}
	}
	storeIfNew(&ns.peak, int64(ns.queue.peak))
	storeIfNew(&ns.unwritten, int64(len(ns.dirty)))
	ns.check.end()
	ns.generation++
	ns.turn.Unlock()
}

// storeIfNew saves the price of an atomic store when nothing changes.
func storeIfNew(a *atomic.Int64, v int64) {
	if a.Load() != v {
		a.Store(v)
	}
}

// drainRest goes on after a panic. Only the first panic of an operation goes
// up; others are logged, lest a thousand of them pile up on the stack.
func (ns *NodeStateMachine) drainRest(op Op) {
	for done := false; !done; {
		done = ns.drainToPanic(op)
	}
}

func (ns *NodeStateMachine) drainToPanic(op Op) (done bool) {
	defer func() {
		if done {
			return
		}
		if v := recover(); v != nil {
			ns.log.Error("Another panic in the same operation", "panic", v, "stack", string(debug.Stack()))
		} else {
			ns.drainRest(op) // runtime.Goexit: there is no way back to the loop
		}
	}()
	ns.drain(op)
	return true
}

func (ns *NodeStateMachine) callStateSubs(op Op, c change) {
	subs := ns.subsTo(c.from ^ c.to)
	for i := ns.nextSub; i < len(subs); i++ {
		sub := subs[i]
		mask := sub.mask
		if (c.from^c.to)&mask == 0 {
			continue
		}
		ns.nextSub = i + 1
		ns.check.calling(ns, c)
		ns.check.entering(sub.name)
		sub.cb(op, c.nd.record.Load(), Flags{c.from & mask, ns.setup}, Flags{c.to & mask, ns.setup})
	}
}
