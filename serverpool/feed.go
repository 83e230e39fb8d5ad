package serverpool

import (
	"sync"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// supply is where candidates are taken from, without waiting.
type supply interface {
	start() // begins to look for nodes
	// take returns the next node; ok is false if there is none at the moment.
	take() (o offer, ok bool)
	// ready tells whether there is one.
	ready() bool
	Close()
}

// offer is a node from a supply.
type offer struct {
	node   *enode.Node // may be nil
	source string      // name of the discovery source; empty for known and trusted servers
}

// picker is a set that nodes are taken from without waiting; nil means that
// there is none.
type picker interface {
	pick() *enode.Node
	len() int
	Close()
}

// nobody is an empty set.
type nobody struct{}

func (nobody) pick() *enode.Node { return nil }
func (nobody) len() int          { return 0 }
func (nobody) Close()            {}

// picked is the supply of a set.
type picked struct{ picker }

func (picked) start() {}

func (p picked) take() (o offer, ok bool) {
	o.node = p.pick()
	return o, o.node != nil
}

func (p picked) ready() bool { return p.len() > 0 }

// feed is a supply of what an iterator brings. The iterator is read by a
// goroutine of its own, one node ahead, so that nobody waits for it, and closed
// by another one, since that may take its time too.
type feed struct {
	it    enode.Iterator
	name  string
	calls *group
	log   log.Logger
	wake  func() // called when there is a node to take

	mu struct {
		sync.Mutex
		taken   sync.Cond // on mu
		next    offer
		filled  bool // next waits to be taken
		started bool
		closed  bool
	}
}

func newFeed(it enode.Iterator, name string, calls *group, log log.Logger, wake func()) *feed {
	f := &feed{it: it, name: name, calls: calls, log: log, wake: wake}
	f.mu.taken.L = &f.mu
	return f
}

func (f *feed) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.started && !f.mu.closed {
		f.mu.started = true
		f.calls.run(f.read)
	}
}

func (f *feed) read() {
	defer f.recover("A source of nodes panicked and is not read any more")
	for f.it.Next() {
		next := offer{node: f.it.Node()}
		if next.node != nil {
			next.source = f.source()
		}
		f.put(next)
		f.wake()
		if !f.waitTaken() {
			return
		}
	}
}

// source names where the iterator's node comes from.
func (f *feed) source() string {
	if it, ok := f.it.(interface{ NodeSource() string }); ok { // newer go-ethereums name some
		if name := it.NodeSource(); name != "" {
			return shortText(name)
		}
	}
	return f.name
}

func (f *feed) put(next offer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.next, f.mu.filled = next, true
}

// waitTaken waits until the node was taken; false means closed.
func (f *feed) waitTaken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.mu.filled && !f.mu.closed {
		f.mu.taken.Wait()
	}
	return !f.mu.closed
}

func (f *feed) take() (next offer, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.mu.filled || f.mu.closed {
		return offer{}, false
	}
	next = f.mu.next
	f.mu.next, f.mu.filled = offer{}, false
	f.mu.taken.Signal()
	return next, true
}

func (f *feed) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.filled && !f.mu.closed
}

func (f *feed) Close() {
	f.mu.Lock()
	closed := f.mu.closed
	f.mu.closed = true
	f.mu.taken.Signal()
	f.mu.Unlock()
	if !closed {
		f.calls.run(func() {
			defer f.recover("A source of nodes panicked when it was closed")
			f.it.Close()
		})
	}
}

func (f *feed) recover(msg string) {
	if v := recover(); v != nil {
		f.log.Error(msg, "panic", v)
	}
}
