package serverpool

import (
	"sync"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// mix merges the sources of candidates. Trusted servers come first. Known
// servers and discovered nodes share the rest: one dial of exploreEvery should
// go to a server that was not known. As long as such dials are owed, two of
// three candidates are discovered ones; one of the three that are asked at once
// is a known server then, and does not wait for the explorers. Discovery sources
// take turns. Whatever is ready is given at once; each discovery source is read
// by a goroutine of its own, one node ahead, so none waits for another.
type mix struct {
	trusted, known picker
	log            log.Logger

	mu struct {
		sync.Mutex
		wake    sync.Cond // on mu
		feeds   []*feed   // the one to serve next is first
		owed    int       // dials of known servers that explorers have not made up for
		node    *enode.Node
		found   int // discovered nodes given in a row, node the last of them
		started bool
		closed  bool
	}
	calls *group // of the sources' functions
}

// picker is a set that nodes are taken from without waiting.
type picker interface {
	pick() *enode.Node
	Close()
}

// nobody is an empty set.
type nobody struct{}

func (nobody) pick() *enode.Node { return nil }
func (nobody) Close()            {}

// feed is a discovery source.
type feed struct {
	it    enode.Iterator
	ready bool // node waits to be taken
	node  *enode.Node
}

// exploreEvery is the share of dials that explores while known servers are at
// hand, as its inverse. More explorers find better servers sooner, fewer
// waste less on unknown ones.
const exploreEvery = 4

// maxOwed bounds what explorers make up for after discovery was slow. More
// keeps their share nearer to what it should be, less has fewer of them in a row.
const maxOwed = 4 * (exploreEvery - 1)

func newMix(trusted, known picker, calls *group, log log.Logger) *mix {
	m := &mix{trusted: trusted, known: known, calls: calls, log: log}
	m.mu.wake.L = &m.mu
	return m
}

// add adds a discovery source, which the mix owns from then on.
func (m *mix) add(it enode.Iterator) {
	m.mu.Lock()
	closed := m.mu.closed
	if !closed {
		f := &feed{it: it}
		m.mu.feeds = append(m.mu.feeds, f)
		if m.mu.started {
			m.startLocked(f)
		}
	}
	m.mu.Unlock()
	if closed {
		m.closeSource(it)
	}
}

// start begins to read the sources.
func (m *mix) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.started || m.mu.closed {
		return
	}
	m.mu.started = true
	for _, f := range m.mu.feeds {
		m.startLocked(f)
	}
}

func (m *mix) startLocked(f *feed) {
	m.calls.run(func() {
		defer func() {
			if v := recover(); v != nil {
				m.log.Error("A source of nodes panicked and is not read any more", "panic", v)
			}
		}()
		for f.it.Next() {
			if !m.offer(f, f.it.Node()) {
				return
			}
		}
	})
}

// offer hands over a node and waits until it was taken.
func (m *mix) offer(f *feed, n *enode.Node) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.node, f.ready = n, true
	m.mu.wake.Broadcast()
	for f.ready && !m.mu.closed {
		m.mu.wake.Wait()
	}
	return !m.mu.closed
}

// wakeUp has a waiting Next look at the trusted and known servers again.
func (m *mix) wakeUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.wake.Broadcast()
}

// gave is called when a server is given out to be dialed.
func (m *mix) gave(known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known {
		m.mu.owed = min(m.mu.owed+1, maxOwed)
	} else {
		m.mu.owed = max(m.mu.owed-(exploreEvery-1), 0)
	}
}

// Next implements enode.Iterator. It returns false only after Close.
func (m *mix) Next() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !m.mu.closed {
		if n, ok := m.takeLocked(); ok {
			m.mu.node = n
			return true
		}
		m.mu.wake.Wait()
	}
	m.mu.node = nil
	return false
}

func (m *mix) takeLocked() (*enode.Node, bool) {
	if n := m.trusted.pick(); n != nil {
		m.mu.found = 0
		return n, true
	}
	if m.mu.owed >= exploreEvery-1 && m.mu.found < minQueries-1 {
		if n, ok := m.discoveredLocked(); ok {
			return n, true
		}
	}
	if n := m.known.pick(); n != nil {
		m.mu.found = 0
		return n, true
	}
	return m.discoveredLocked()
}

func (m *mix) discoveredLocked() (*enode.Node, bool) {
	for i, f := range m.mu.feeds {
		if !f.ready {
			continue
		}
		// Behind the others, which are served before it is its turn again.
		m.mu.feeds = append(append(m.mu.feeds[:i:i], m.mu.feeds[i+1:]...), f)
		n := f.node
		f.node, f.ready = nil, false
		m.mu.found++
		m.mu.wake.Broadcast()
		return n, true
	}
	return nil, false
}

// Node implements enode.Iterator.
func (m *mix) Node() *enode.Node {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.node
}

// discovered tells whether Node is from a discovery source.
func (m *mix) discovered() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.found > 0
}

// Close implements enode.Iterator. Sources are closed without waiting for
// them.
func (m *mix) Close() {
	m.mu.Lock()
	if m.mu.closed {
		m.mu.Unlock()
		return
	}
	m.mu.closed = true
	m.mu.wake.Broadcast()
	feeds := m.mu.feeds
	m.mu.Unlock()
	m.trusted.Close()
	m.known.Close()
	for _, f := range feeds {
		m.closeSource(f.it)
	}
}

// closeSource closes a source on a goroutine of its own: it may take its time.
func (m *mix) closeSource(it enode.Iterator) {
	m.calls.run(func() {
		defer func() {
			if v := recover(); v != nil {
				m.log.Error("A source of nodes panicked when it was closed", "panic", v)
			}
		}()
		it.Close()
	})
}
