package nodestate_test

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// The part of the model that is about the store, Start and Stop.

// modelEntry is what is stored of a node; the zero value: nothing.
type modelEntry struct {
	seq           uint64
	state, fields string
}

func (m *model) entry(i uint64) (e modelEntry) {
	nd := m.nodes[i]
	if nd == nil {
		return e
	}
	state := maps.Clone(nd.state)
	for _, t := range m.timers {
		for f := range t.flags {
			if t.node == i {
				delete(state, f)
			}
		}
	}
	for f := range nd.state {
		if !m.persistent[f] {
			delete(state, f)
		}
	}
	if len(state) == 0 {
		return e
	}
	e = modelEntry{seq: nd.seq, state: m.names(state)}
	for _, f := range m.fields {
		if v, ok := nd.fields[f]; ok && m.persistent[f] {
			e.fields += fmt.Sprintf("%s=%d ", f, v)
		}
	}
	return e
}

// moment is when a node's entry became what it is.
type moment struct {
	at    time.Duration
	entry modelEntry
}

func (m *model) remember() {
	for i := range uint64(programNodes) {
		h := m.history[i]
		if e := m.entry(i); h[len(h)-1].entry != e {
			m.history[i] = append(h, moment{m.now, e})
		}
	}
}

// recent returns what may be on disk of a node: all that was to be stored
// within the last flush interval.
func (m *model) recent(i uint64) (allowed []modelEntry) {
	h := m.history[i]
	for k, mo := range h {
		if k == len(h)-1 || h[k+1].at+defaultFlush > m.now {
			allowed = append(allowed, mo.entry)
		}
	}
	return allowed
}

// start brings the nodes from disk.
func (m *model) start() {
	m.running = true
	m.history = make(map[uint64][]moment)
	for i := range uint64(programNodes) {
		m.history[i] = []moment{{0, m.disk[i]}}
	}
	for i, e := range m.disk {
		nd := &modelNode{seq: e.seq, state: map[string]bool{}, fields: map[string]uint64{}}
		for f := range strings.SplitSeq(strings.Trim(e.state, "[]"), ", ") {
			nd.state[f] = true
		}
		for pair := range strings.FieldsSeq(e.fields) {
			f, v, _ := strings.Cut(pair, "=")
			nd.fields[f], _ = strconv.ParseUint(v, 10, 64)
		}
		m.nodes[i] = nd
	}
	for _, i := range m.ids() {
		nd := m.nodes[i]
		state := maps.Clone(nd.state)
		m.queue = append(m.queue, modelChange{node: i, from: map[string]bool{"offline": true}, to: state})
		for _, f := range m.fields {
			if v, ok := nd.fields[f]; ok {
				m.queue = append(m.queue, modelChange{i, state, state, f, "-", text(v, true)})
			}
		}
	}
	m.run()
}

// stop stores the nodes and takes them offline.
func (m *model) stop() {
	m.disk = make(map[uint64]modelEntry)
	for i := range m.nodes {
		if e := m.entry(i); e != (modelEntry{}) {
			m.disk[i] = e
		}
	}
	m.running, m.timers = false, nil
	ids := m.ids()
	was := make(map[uint64]map[string]bool)
	for _, i := range ids {
		was[i] = m.nodes[i].state
		m.nodes[i].state = map[string]bool{"offline": true}
	}
	for _, i := range ids {
		m.queue = append(m.queue, modelChange{node: i, from: was[i], to: m.nodes[i].state})
		for _, f := range m.fields {
			m.setField(node(i), i, f, 0, false)
		}
	}
	m.run()
	m.crash()
}

// crash leaves what is on disk.
func (m *model) crash() {
	m.running, m.nodes, m.timers, m.queue, m.flagless = false, make(map[uint64]*modelNode), nil, nil, nil
}
