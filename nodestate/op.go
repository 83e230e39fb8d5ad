package nodestate

import (
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Op is the right to make changes inside one operation. Callbacks and the
// function given to [NodeStateMachine.Operation] receive one; it is valid
// until that operation ends and only on the goroutine that it was given to.
// Using it later panics. It is a small value that needs no allocation.
type Op struct {
	ns         *NodeStateMachine
	generation uint64
}

// SetState resets and sets flags of n: its new state is (old &^ reset) | set.
// Subscribers are called later, after those of the changes made before. With
// a timeout above zero the flags in set are reset again when it has elapsed.
// Timeouts that were running for any flag in set or reset are cancelled,
// whether the state changes or not. Setting nothing on an unknown node, and a
// nil node, do nothing.
func (op Op) SetState(n *enode.Node, set, reset Flags, timeout time.Duration) {
	ns := op.machine()
	toSet, toReset := ns.settable(set), ns.settable(reset)
	if n != nil {
		ns.setState(n, toSet, toReset, timeout)
	}
}

// AddTimeout has those of the given flags that n now has reset after d,
// instead of at the time they were given before. A d of zero or less makes
// that the next moment. Unknown and nil nodes are ignored.
func (op Op) AddTimeout(n *enode.Node, flags Flags, d time.Duration) {
	ns := op.machine()
	timed := ns.maskOf(flags)
	if n == nil {
		return
	}
	if nd := ns.table.find(n); nd != nil {
		ns.adopt(nd, n)
		if mask := timed & nd.state.Load(); mask != 0 {
			ns.retime(nd, nd.state.Load(), retiming{mask, mask, max(d, 0)})
		}
	}
}

// Machine returns the machine that the operation runs on, for its getters.
func (op Op) Machine() *NodeStateMachine { return op.machine() }

// machine checks that the operation is still running.
func (op Op) machine() *NodeStateMachine {
	if op.ns == nil {
		panic("nodestate: the zero Op belongs to no operation")
	}
	if op.generation != op.ns.generation {
		panic("nodestate: Op used after its operation ended; keep no Op, start an operation instead")
	}
	return op.ns
}
