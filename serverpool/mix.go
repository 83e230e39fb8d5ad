package serverpool

import (
	"slices"
	"sync"
)

// mix merges the supplies of candidates. Trusted servers come first. Known
// servers and explorers share the rest: one dial of exploreEvery should go to a
// server that was not known. As long as such dials are owed, two of three
// candidates are explorers; one of the three that are asked at once is a known
// server then, and does not wait for the explorers. These are acquaintances, as far
// as there are any, then discovered nodes, whose sources take turns. Whatever is
// ready is given at once, so that none waits for another.
type mix struct {
	trusted, known picker
	met            supply // acquaintances

	mu struct {
		sync.Mutex
		sources []supply // the one to serve next is first
		owed    int      // dials of known servers that explorers have not made up for
		found   int      // explorers given in a row, up to the latest
		started bool
		closed  bool
	}
}

// exploreEvery is the share of dials that explores while known servers are at
// hand, as its inverse. More explorers find better servers sooner, fewer
// waste less on unknown ones.
const exploreEvery = 4

// maxOwed bounds what explorers make up for after discovery was slow. More
// keeps their share nearer to what it should be, less has fewer of them in a row.
const maxOwed = 4 * (exploreEvery - 1)

func newMix(trusted, known picker, met supply) *mix {
	return &mix{trusted: trusted, known: known, met: met}
}

// add adds a discovery source, which the mix owns from then on.
func (m *mix) add(s supply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.mu.closed:
		s.Close()
		return
	case m.mu.started:
		s.start()
	}
	m.mu.sources = append(m.mu.sources, s)
}

// start begins to read the sources.
func (m *mix) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.started || m.mu.closed {
		return
	}
	m.mu.started = true
	for _, s := range m.mu.sources {
		s.start()
	}
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

func (m *mix) take() (o offer, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return offer{}, false
	}
	if n := m.trusted.pick(); n != nil {
		m.mu.found = 0
		return offer{node: n}, true
	}
	if m.mu.owed >= exploreEvery-1 && m.mu.found < minQueries-1 {
		if o, ok := m.exploreLocked(); ok {
			return o, true
		}
	}
	if n := m.known.pick(); n != nil {
		m.mu.found = 0
		return offer{node: n}, true
	}
	return m.exploreLocked()
}

// ready tells whether any supply has a node, known servers included.
func (m *mix) ready() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.mu.closed && (m.trusted.len() > 0 || m.known.len() > 0 || m.met.ready() ||
		slices.ContainsFunc(m.mu.sources, supply.ready))
}

func (m *mix) exploreLocked() (offer, bool) {
	if o, ok := m.met.take(); ok {
		m.mu.found++
		return o, true
	}
	for i, s := range m.mu.sources {
		if o, ok := s.take(); ok {
			// Behind the others, which are served before it is its turn again.
			copy(m.mu.sources[i:], m.mu.sources[i+1:])
			m.mu.sources[len(m.mu.sources)-1] = s
			m.mu.found++
			return o, true
		}
	}
	return offer{}, false
}

// Close closes all supplies.
func (m *mix) Close() {
	m.mu.Lock()
	closed, sources := m.mu.closed, m.mu.sources
	m.mu.closed = true
	m.mu.Unlock()
	if closed {
		return
	}
	m.trusted.Close()
	m.known.Close()
	m.met.Close()
	for _, s := range sources {
		s.Close()
	}
}
