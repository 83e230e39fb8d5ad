package serverpool

import (
	"errors"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// FillSet reads nodes from an iterator and sets flags on them, as long as
// fewer nodes than wanted have all of these flags.
type FillSet struct {
	input enode.Iterator
	clock mclock.Clock
	// admit sets the flags, or does not and returns false. It may take time.
	admit func(n *enode.Node) bool
	// pause returns how long to wait before the next read.
	pause func() time.Duration

	calls *group // of input and admit
	quit  chan struct{}
	mu    struct {
		sync.Mutex
		wake    sync.Cond // on mu
		count   int       // nodes that have the flags
		target  int
		running bool
		closed  bool
	}
}

// NewFillSet makes a FillSet with target 0. It subscribes to the flags, so it
// has to be made before the machine starts. Reading begins with the first
// target above 0 and ends when the input or the machine does; what is read
// before the machine has started is lost. The FillSet owns the input and closes
// it.
func NewFillSet(ns *nodestate.NodeStateMachine, input enode.Iterator, flags nodestate.Flags) *FillSet {
	var fs *FillSet
	fs = newFillSet(ns, input, flags, new(group), func(n *enode.Node) (added bool) {
		if n == nil {
			return false
		}
		err := ns.Operation(func(op nodestate.Op) {
			if added = !ns.GetState(n).HasAll(flags); added {
				op.SetState(n, flags, nodestate.Flags{}, 0)
			}
		})
		if errors.Is(err, nodestate.ErrClosed) {
			fs.Close()
		}
		return added
	})
	return fs
}

func newFillSet(ns *nodestate.NodeStateMachine, input enode.Iterator, flags nodestate.Flags, calls *group, admit func(*enode.Node) bool) *FillSet {
	fs := &FillSet{
		input: input,
		clock: ns.Clock(),
		admit: admit,
		pause: func() time.Duration { return 0 },
		calls: calls,
		quit:  make(chan struct{}),
	}
	fs.mu.wake.L = &fs.mu
	ns.SubscribeState(flags, func(_ nodestate.Op, _ *enode.Node, oldState, newState nodestate.Flags) {
		if was, is := oldState.HasAll(flags), newState.HasAll(flags); was != is {
			fs.change(is)
		}
	})
	return fs
}

func (fs *FillSet) change(more bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if more {
		fs.mu.count++
	} else {
		fs.mu.count--
		fs.mu.wake.Signal()
	}
}

// SetTarget sets how many nodes should have the flags. It may be called
// anywhere and does not wait.
func (fs *FillSet) SetTarget(target int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.mu.target = target
	if target > 0 && !fs.mu.running && !fs.mu.closed {
		fs.mu.running = true
		fs.calls.run(fs.read)
	}
	fs.mu.wake.Signal()
}

// Close ends the reading and closes the input. It may be called repeatedly,
// and does not wait for an input that is still being read.
func (fs *FillSet) Close() {
	fs.mu.Lock()
	closed := fs.mu.closed
	fs.mu.closed = true
	fs.mu.wake.Signal()
	fs.mu.Unlock()
	if !closed {
		close(fs.quit)
		fs.input.Close()
	}
}

// waitForRoom waits until another node is wanted; false means closed.
func (fs *FillSet) waitForRoom() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for fs.mu.count >= fs.mu.target && !fs.mu.closed {
		fs.mu.wake.Wait()
	}
	return !fs.mu.closed
}

// wastedReads is the rate, per second, and half the number that may come at
// once, of reads that bring nothing. With it a source that has only unusable
// nodes is read at most 100 times in any second. More finds a usable node
// among many sooner, less saves power.
const wastedReads = 50

func (fs *FillSet) read() {
	wasted := newTokenBucket(wastedReads, wastedReads-1)
	for fs.waitForRoom() {
		if d := max(fs.pause(), wasted.wait(fs.clock.Now())); d > 0 {
			if !fs.sleep(d) {
				return
			}
			continue // with what is wanted by now
		}
		// The input may have waited until nobody wants its node any more. Then
		// the node waits for the next who does.
		if !fs.input.Next() || !fs.waitForRoom() {
			return
		}
		if !fs.admit(fs.input.Node()) {
			wasted.take(fs.clock.Now())
		}
	}
}

func (fs *FillSet) sleep(d time.Duration) bool {
	timer := fs.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-fs.quit:
		return false
	}
}
