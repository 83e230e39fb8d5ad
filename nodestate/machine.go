package nodestate

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
)

// Errors of top-level calls.
var (
	ErrNotStarted = errors.New("nodestate: not started")
	ErrStarted    = errors.New("nodestate: started before")
	ErrClosed     = errors.New("nodestate: closed")
	ErrNoNode     = errors.New("nodestate: nil node")
)

// FlushAtStop as a flush interval has the machine write at Stop and Persist
// only.
const FlushAtStop = time.Duration(-1)

// Config holds the parameters of a machine. Its zero value makes a machine
// that keeps everything in memory.
type Config struct {
	// Store keeps persistent flags and fields. Default nil: nothing is stored.
	Store Store
	// Prefix stands before the node id in every key. Default empty.
	Prefix []byte
	// Clock drives timeouts and flushes. Default mclock.System.
	Clock mclock.Clock
	// FlushInterval is the most time that passes between a change and its being
	// written, hence what a crash can lose. Default (0): 10 seconds. A longer
	// one makes fewer, larger writes. Negative, see [FlushAtStop]: no timed
	// writes.
	FlushInterval time.Duration
	// Log receives what goes wrong with the store. Default: the root logger.
	Log log.Logger
}

const defaultFlushInterval = 10 * time.Second

// NodeStateMachine keeps flags and fields of nodes and tells subscribers of
// every change. The package comment states its law. All methods are safe for
// concurrent use, except that subscriptions precede Start.
type NodeStateMachine struct {
	setup      *Setup
	clock      mclock.Clock
	log        log.Logger
	persistent uint64

	table     table
	stateSubs []*stateSub
	subsOf    [64][]*stateSub // those of each flag
	columns   []column        // by field index
	saver     *saver          // nil without a store

	// turn is held by the running operation, callbacks included. Everything
	// below is guarded by it unless said otherwise. Lock order: turn, then a
	// shard's lock, then saver.mu; turn, then flushing; saver.io comes before
	// saver.mu and flushing.
	turn       sync.Mutex
	phase      atomic.Int32 // written under turn
	closing    atomic.Bool  // Stop has been called; not guarded
	generation uint64       // number of operations that ended
	queue      fifo[change]
	nextSub    int     // next subscriber to call for the queue's front
	flagless   []*node // nodes that had no flag at some point of the operation
	dirty      []*node // nodes that the next flush looks at; see node.dirty
	timeouts   timeouts
	alarm      mclock.Timer // nil when not set
	alarmAt    mclock.AbsTime
	firing     bool // fire is at work and sets the alarm itself
	check      checker

	// Not guarded by turn.
	flushAfter time.Duration
	flushing   flushTimer
	peak       atomic.Int64   // queue's high-water mark; written at the end of an operation
	unwritten  atomic.Int64   // length of dirty, likewise
	badEntries atomic.Int64   // found by Start
	timers     sync.WaitGroup // armed or running clock callbacks, and writes of Stop
	stopped    chan struct{}  // closed when Stop is done
}

const (
	phaseNew = int32(iota)
	phaseRunning
	phaseClosed
)

type stateSub struct {
	mask uint64
	cb   StateCallback
	name string
}

// New makes a machine for nodes with the given setup, which is read-only from
// now on. The machine does nothing until Start.
func New(setup *Setup, config Config) *NodeStateMachine {
	setup.init()
	setup.frozen.Store(true)
	ns := &NodeStateMachine{
		setup:      setup,
		clock:      config.Clock,
		log:        config.Log,
		persistent: setup.persistentMask(),
		flushAfter: config.FlushInterval,
		stopped:    make(chan struct{}),
	}
	if ns.clock == nil {
		ns.clock = mclock.System{}
	}
	if ns.log == nil {
		ns.log = log.Root()
	}
	if ns.flushAfter == 0 {
		ns.flushAfter = defaultFlushInterval
	}
	if config.Store != nil {
		ns.saver = newSaver(config.Store, config.Prefix)
	}
	ns.table.init()
	for i, f := range setup.fields {
		ns.columns = append(ns.columns, f.newColumn(int32(i)))
	}
	return ns
}

// Clock returns the clock that the machine runs on.
func (ns *NodeStateMachine) Clock() mclock.Clock { return ns.clock }

// SubscribeState has cb called for every change of at least one of the given
// flags. Subscribers are called in the order of their subscription. It panics
// once the machine was started.
func (ns *NodeStateMachine) SubscribeState(flags Flags, cb StateCallback) {
	ns.mustBeNew("SubscribeState")
	sub := &stateSub{ns.maskOf(flags), cb, callbackName(cb)}
	ns.stateSubs = append(ns.stateSubs, sub)
	for i := range ns.subsOf {
		if sub.mask>>i&1 != 0 {
			ns.subsOf[i] = append(ns.subsOf[i], sub)
		}
	}
}

// subsTo returns the subscribers to changes of the given flags, and possibly
// others, in the order of their subscription. Mostly it is one flag that changes.
func (ns *NodeStateMachine) subsTo(flags uint64) []*stateSub {
	if flags&(flags-1) == 0 && flags != 0 {
		return ns.subsOf[bits.TrailingZeros64(flags)]
	}
	return ns.stateSubs
}

func (ns *NodeStateMachine) mustBeNew(call string) {
	if ns.phase.Load() != phaseNew {
		panic("nodestate: " + call + " after Start")
	}
}

// maskOf checks that the flags are of this machine.
func (ns *NodeStateMachine) maskOf(f Flags) uint64 {
	if f.setup != ns.setup && f.mask != 0 {
		ns.panicMixed(f)
	}
	return f.mask
}

// settable is maskOf without the offline flag, which nobody sets.
func (ns *NodeStateMachine) settable(f Flags) uint64 { return ns.maskOf(f) &^ offlineMask }

// panicMixed is apart so that maskOf can be inlined.
//
//go:noinline
func (ns *NodeStateMachine) panicMixed(f Flags) {
	panic(fmt.Sprintf("nodestate: flags %v of setup %q used with a machine of setup %q", f, f.setup.Name, ns.setup.Name))
}

// Start loads the stored nodes and runs one operation in which subscribers see
// each of them go from offline to its state and its fields from absent to
// their values, ordered by node id. It returns ErrStarted when called twice
// and ErrClosed after Stop. When the store could not be read to its end Start
// returns that error too, but the machine runs, with the nodes that were read.
func (ns *NodeStateMachine) Start() error {
	ns.check.blocking("Start")
	ns.turn.Lock()
	switch {
	case ns.closing.Load():
		ns.turn.Unlock()
		return ErrClosed
	case ns.phase.Load() != phaseNew:
		ns.turn.Unlock()
		return ErrStarted
	}
	ns.phase.Store(phaseRunning)
	op := ns.open("Start")
	defer ns.end(op)
	return ns.load()
}

// Stop runs one last operation in which subscribers see each node go offline
// and its fields become absent, stores what is not stored yet (the states
// before that operation), cancels all timeouts and waits until the machine
// touches its store no more. Top-level calls that wait for their turn return
// ErrClosed, as do all later ones; getters return empty values. Stop may be
// called at any time, repeatedly, but not from inside a callback.
func (ns *NodeStateMachine) Stop() {
	ns.check.blocking("Stop")
	ns.closing.Store(true)
	ns.turn.Lock()
	if ns.phase.Load() == phaseClosed {
		ns.turn.Unlock()
		<-ns.stopped
		return
	}
	started := ns.phase.Swap(phaseClosed) == phaseRunning
	ns.cancelTimer(&ns.alarm)
	ns.stopFlushing()
	defer ns.finishStop()
	if started {
		ns.goOffline()
	} else {
		ns.turn.Unlock()
	}
}

// goOffline runs the shutdown operation and ends the caller's turn.
func (ns *NodeStateMachine) goOffline() {
	ns.collectAll() // the states before the callbacks run
	op := ns.open("Stop")
	defer ns.end(op)
	nodes := ns.table.snapshot(0, 0)
	ns.growQueue(len(nodes))
	for _, st := range nodes {
		st.nd.state.Store(offlineMask)
	}
	for _, st := range nodes {
		ns.pushState(st.nd, st.state, offlineMask)
		for _, col := range ns.columns {
			col.clear(ns, st.nd)
		}
	}
}

func (ns *NodeStateMachine) finishStop() {
	if ns.saver != nil {
		if err := ns.saver.close(); err != nil {
			ns.log.Error("Node states could not be saved", "err", err)
		}
	}
	ns.timers.Wait()
	close(ns.stopped)
}
