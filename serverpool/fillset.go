package serverpool

import (
	"errors"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// FillSet takes nodes from an iterator and sets flags on them, as long as
// fewer nodes than wanted have all of these flags.
type FillSet struct {
	input supply
	clock mclock.Clock
	// admit sets the flags, or does not and returns false. It may take time.
	admit func(o offer) bool
	// pause returns how long to wait before the next node is taken.
	pause func(now mclock.AbsTime) time.Duration

	calls  *group
	closed func()      // called when it is closed
	wasted tokenBucket // of nodes that were not admitted; belongs to fill
	mu     struct {
		sync.Mutex
		count  int // nodes that have the flags
		target int
		phase  fillPhase
		timer  mclock.Timer // in fillPaused
	}
}

// fillPhase is what a FillSet is doing.
type fillPhase int

const (
	fillIdle    fillPhase = iota // until it is woken
	fillRunning                  // fill is at work
	fillAgain                    // it is, and has to look again before it ends
	fillPaused                   // until the timer
	fillClosed
)

// NewFillSet makes a FillSet with target 0. It subscribes to the flags, so it
// has to be made before the machine starts. The input is read, one node ahead,
// from the first target above 0 on, until it ends or the machine does; what is
// taken before the machine has started is lost. The FillSet owns the input and
// closes it.
func NewFillSet(ns *nodestate.NodeStateMachine, input enode.Iterator, flags nodestate.Flags) *FillSet {
	var fs *FillSet
	calls := new(group)
	source := newFeed(input, "", calls, log.Root(), func() { fs.wake() })
	fs = newFillSet(ns, source, flags, calls, func(o offer) (added bool) {
		n := o.node
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
	fs.closed = calls.close
	return fs
}

func newFillSet(ns *nodestate.NodeStateMachine, input supply, flags nodestate.Flags, calls *group, admit func(offer) bool) *FillSet {
	fs := &FillSet{
		input:  input,
		clock:  ns.Clock(),
		admit:  admit,
		pause:  func(mclock.AbsTime) time.Duration { return 0 },
		calls:  calls,
		closed: func() {},
		wasted: newTokenBucket(wastedNodes, wastedNodes-1),
	}
	ns.SubscribeState(flags, func(_ nodestate.Op, _ *enode.Node, oldState, newState nodestate.Flags) {
		if was, is := oldState.HasAll(flags), newState.HasAll(flags); was != is {
			fs.change(is)
		}
	})
	return fs
}

// wastedNodes is the rate, per second, and half the number that may come at
// once, of nodes taken in vain. With it an input that has only unusable ones is
// read at most 100 times in any second. More finds a usable node among many
// sooner, less saves power.
const wastedNodes = 50

func (fs *FillSet) change(more bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if more {
		fs.mu.count++
	} else {
		fs.mu.count--
		fs.wakeLocked()
	}
}

// SetTarget sets how many nodes should have the flags. It may be called
// anywhere and does not wait.
func (fs *FillSet) SetTarget(target int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	more := target > fs.mu.target
	fs.mu.target = target
	if fs.mu.phase == fillPaused { // the pause may be another one now
		fs.mu.timer.Stop()
		fs.mu.phase, more = fillIdle, true
	}
	if more {
		fs.wakeLocked()
	}
}

// wake is called when the input may have a node.
func (fs *FillSet) wake() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.wakeLocked()
}

func (fs *FillSet) wakeLocked() {
	switch {
	case fs.mu.phase == fillRunning:
		fs.mu.phase = fillAgain
	case fs.mu.phase == fillIdle && fs.mu.count < fs.mu.target:
		fs.mu.phase = fillRunning
		fs.calls.run(fs.fill)
	}
}

// fill takes nodes until there are enough or no more at the moment. It runs
// outside operations.
func (fs *FillSet) fill() {
	fs.input.start()
	for fs.wantsMore() {
		now := fs.clock.Now()
		if d := max(fs.pause(now), fs.wasted.wait(now)); d > 0 {
			fs.sleep(d)
			return
		}
		o, ok := fs.input.take()
		if !ok {
			if fs.rest() {
				return
			}
			continue
		}
		if !fs.admit(o) {
			fs.wasted.take(fs.clock.Now())
		}
	}
}

// wantsMore tells whether another node is wanted. If not, fill has to end.
func (fs *FillSet) wantsMore() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mu.phase == fillClosed {
		return false
	}
	if fs.mu.count >= fs.mu.target {
		fs.mu.phase = fillIdle
		return false
	}
	fs.mu.phase = fillRunning
	return true
}

// rest ends fill, unless the input got something meanwhile.
func (fs *FillSet) rest() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mu.phase == fillAgain {
		return false
	}
	if fs.mu.phase == fillRunning {
		fs.mu.phase = fillIdle
	}
	return true
}

// sleep ends fill and has it go on after d.
func (fs *FillSet) sleep(d time.Duration) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.mu.phase == fillClosed {
		return
	}
	fs.mu.phase = fillPaused
	fs.mu.timer = fs.clock.AfterFunc(d, func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		if fs.mu.phase == fillPaused {
			fs.mu.phase = fillIdle
			fs.wakeLocked()
		}
	})
}

// Close ends the filling and closes the input. It may be called repeatedly,
// and does not wait for an input that is being read.
func (fs *FillSet) Close() {
	fs.mu.Lock()
	closed := fs.mu.phase == fillClosed
	fs.mu.phase = fillClosed
	if fs.mu.timer != nil {
		fs.mu.timer.Stop()
	}
	fs.mu.Unlock()
	if !closed {
		fs.input.Close()
		fs.closed()
	}
}
