package nodestate

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
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
	stateSubs []stateSub
	columns   []column // by field index
	saver     *saver   // nil without a store

	// turn is held by the running operation, callbacks included. Everything
	// below is guarded by it unless said otherwise. Lock order: turn, then a
	// shard's lock, then saver.mu; saver.io comes before saver.mu.
	turn       sync.Mutex
	phase      atomic.Int32  // written under turn
	closing    atomic.Bool   // Stop has been called; not guarded
	generation atomic.Uint64 // one more at the start and at the end of each operation
	queue      fifo[change]
	nextSub    int     // subscriber of the queue's front whose turn it is
	flagless   []*node // nodes that had no flag at some point of the operation
	dirty      []*node // nodes that the next flush looks at
	timeouts   timeouts
	alarm      mclock.Timer // nil when not set
	alarmAt    mclock.AbsTime
	firing     bool // fire is at work and sets the alarm itself
	flushAfter time.Duration
	flushTimer mclock.Timer // nil when not set
	check      checker

	peak       atomic.Int64   // queue's high-water mark; written at the end of an operation
	unwritten  atomic.Int64   // length of dirty, likewise
	badEntries atomic.Int64   // found by Start
	timers     sync.WaitGroup // armed or running clock callbacks; not guarded
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
	setup.frozen = true
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

// SubscribeState has cb called for every change of at least one of the given
// flags. Subscribers are called in the order of their subscription. It panics
// once the machine was started.
func (ns *NodeStateMachine) SubscribeState(flags Flags, cb StateCallback) {
	ns.mustBeNew("SubscribeState")
	ns.stateSubs = append(ns.stateSubs, stateSub{ns.maskOf(flags), cb, callbackName(cb)})
}

func (ns *NodeStateMachine) mustBeNew(call string) {
	if ns.phase.Load() != phaseNew {
		panic("nodestate: " + call + " after Start")
	}
}

// maskOf checks that the flags are of this machine.
func (ns *NodeStateMachine) maskOf(f Flags) uint64 {
	if f.setup != ns.setup && f.mask != 0 {
		panic(fmt.Sprintf("nodestate: flags %v of setup %q used with a machine of setup %q", f, f.setup.Name, ns.setup.Name))
	}
	return f.mask
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
	err := ns.load()
	for _, st := range ns.table.snapshot(0, 0) {
		ns.pushState(st.nd, offlineMask, st.state)
		for _, col := range ns.columns {
			col.announce(ns, st.nd)
		}
		ns.noteFlagless(st.nd)
	}
	return err
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
	ns.cancelTimer(&ns.flushTimer)
	defer ns.finishStop()
	if started {
		ns.goOffline()
	} else {
		ns.turn.Unlock()
	}
}

// goOffline runs the shutdown operation and ends the caller's turn.
func (ns *NodeStateMachine) goOffline() {
	ns.collect(len(ns.dirty)) // the states before the callbacks run
	op := ns.open("Stop")
	defer ns.end(op)
	nodes := ns.table.snapshot(0, 0)
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

// SetState is [Op.SetState] as an operation of its own: it waits for its turn
// and returns when all consequences are over. Not for use inside callbacks.
// Errors: [ErrNotStarted], [ErrClosed], [ErrNoNode].
func (ns *NodeStateMachine) SetState(n *enode.Node, set, reset Flags, timeout time.Duration) error {
	op, err := ns.begin(n, "SetState")
	if err != nil {
		return err
	}
	defer ns.end(op)
	op.SetState(n, set, reset, timeout)
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
	ns.turn.Lock()
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

// open makes the Op of an operation whose turn it is.
func (ns *NodeStateMachine) open(call string) Op {
	ns.check.begin(call)
	return Op{ns, ns.generation.Add(1)}
}

// end runs what the operation has queued and ends its turn, also while a panic
// or runtime.Goexit is on its way up.
func (ns *NodeStateMachine) end(op Op) {
	defer ns.close()
	ns.drain(op)
}

func (ns *NodeStateMachine) close() {
	if ns.phase.Load() == phaseClosed {
		ns.table.clear()
		ns.timeouts, ns.flagless, ns.dirty = timeouts{}, nil, nil // pinning no node
	} else {
		ns.setAlarm()
		ns.setFlushTimer()
	}
	ns.peak.Store(int64(ns.queue.peak))
	ns.unwritten.Store(int64(len(ns.dirty)))
	ns.check.end()
	ns.generation.Add(1)
	ns.turn.Unlock()
}

// drain calls subscribers until the queue is empty and the nodes left without
// a flag are forgotten. A panic of one of them takes its way up once the rest
// of the queue has run.
func (ns *NodeStateMachine) drain(op Op) {
	done := false
	defer func() {
		if !done {
			ns.drain(op)
		}
	}()
	for ns.queue.len() > 0 || ns.sweep() {
		ns.callNext(op)
	}
	done = true
}

// callNext calls the next subscriber of the oldest change, if one is left.
func (ns *NodeStateMachine) callNext(op Op) {
	c := *ns.queue.front()
	n, i := c.nd.record.Load(), ns.nextSub
	ns.nextSub++
	if c.field != stateChange {
		col := ns.columns[c.field]
		if i < col.subscribers() {
			ns.check.calling(ns, c)
			col.call(i, op, n, c.from)
			return
		}
		col.pop()
	} else {
		for ; i < len(ns.stateSubs); i++ {
			sub := &ns.stateSubs[i]
			if (c.from^c.to)&sub.mask == 0 {
				continue
			}
			ns.nextSub = i + 1
			ns.check.calling(ns, c)
			ns.check.entering(sub.name)
			sub.cb(op, n, Flags{c.from & sub.mask, ns.setup}, Flags{c.to & sub.mask, ns.setup})
			return
		}
	}
	ns.queue.pop()
	ns.nextSub = 0
}

// expire runs the operation of the earliest timeout that is due, if any.
func (ns *NodeStateMachine) expire() bool {
	ns.turn.Lock()
	to := ns.timeouts.due(ns.clock.Now())
	if ns.closing.Load() || to == nil {
		ns.turn.Unlock()
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			ns.log.Error("Panic in a callback after a timeout", "panic", v, "stack", string(debug.Stack()))
			panic(v)
		}
	}()
	op := ns.open("timeout")
	defer ns.end(op)
	ns.reset(to.nd, to.mask)
	return true
}

// fire is what the alarm calls.
func (ns *NodeStateMachine) fire() {
	defer ns.timers.Done()
	ns.setFiring(true)
	defer ns.setFiring(false)
	for ns.expire() {
	}
}

func (ns *NodeStateMachine) setFiring(firing bool) {
	ns.turn.Lock()
	defer ns.turn.Unlock()
	ns.firing = firing
	ns.cancelTimer(&ns.alarm)
	if !firing && ns.phase.Load() == phaseRunning {
		ns.setAlarm()
	}
}

// setAlarm makes sure that the alarm goes off in time for the earliest
// timeout. One that goes off too early finds nothing to do and is set again.
func (ns *NodeStateMachine) setAlarm() {
	at, ok := ns.timeouts.next()
	if !ok || ns.firing || ns.alarm != nil && ns.alarmAt <= at {
		return
	}
	ns.cancelTimer(&ns.alarm)
	ns.alarm, ns.alarmAt = ns.after(at.Sub(ns.clock.Now()), ns.fire), at
}

func (ns *NodeStateMachine) after(d time.Duration, f func()) mclock.Timer {
	ns.timers.Add(1)
	return ns.clock.AfterFunc(max(d, 0), f)
}

func (ns *NodeStateMachine) cancelTimer(t *mclock.Timer) {
	if *t != nil && (*t).Stop() {
		ns.timers.Done()
	}
	*t = nil
}

// GetState returns the flags of n; none when it is unknown. It may be called
// anywhere and waits for no operation.
func (ns *NodeStateMachine) GetState(n *enode.Node) Flags {
	if n == nil {
		return Flags{}
	}
	id := n.ID()
	sh := ns.table.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if nd := sh.nodes[id]; nd != nil {
		return Flags{nd.state.Load(), ns.setup}
	}
	return Flags{}
}

// GetNode returns the newest known record of a node, nil when it is unknown.
// It may be called anywhere and waits for no operation.
func (ns *NodeStateMachine) GetNode(id enode.ID) *enode.Node {
	sh := ns.table.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if nd := sh.nodes[id]; nd != nil {
		return nd.record.Load()
	}
	return nil
}

// ForEach calls cb for every node that has all flags of require and none of
// disable, ordered by id, with the state that it had when ForEach was called.
// It may be called anywhere; cb is called without a lock.
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

// isNil tells whether v is nil or holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}
