package nodestate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// model says in the plainest way what a machine has to do: flags are sets of
// names, everything is searched from one end to the other, and each call of a
// subscriber is kept as text. It knows nothing of masks, slots, heaps or locks.
type model struct {
	flags, fields []string
	persistent    map[string]bool // flags and fields that are stored
	subs          []modelSub

	running  bool // timeouts can be set
	now      time.Duration
	nodes    map[uint64]*modelNode
	timers   []modelTimeout // in the order of setting
	queue    []modelChange
	flagless []uint64 // to be looked at when the queue is empty
	calls    []string // what subscribers were told
	budget   int      // how many reactions there may still be
	disk     map[uint64]modelEntry
	history  map[uint64][]moment // since the last start, of what should be on disk
}

// modelSub is a subscription and the changes that its callback makes.
type modelSub struct {
	name  string
	flags []string // or
	field string
	react []act
}

type modelNode struct {
	seq    uint64
	state  map[string]bool
	fields map[string]uint64
	told   bool
}

type modelTimeout struct {
	node  uint64
	flags map[string]bool
	at    time.Duration
}

type modelChange struct {
	node     uint64
	from, to map[string]bool
	field    string
	old, new string
}

func (m *model) names(set map[string]bool) string {
	var list []string
	for _, f := range append([]string{"offline"}, m.flags...) {
		if set[f] {
			list = append(list, f)
		}
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// ids returns the known nodes in the order of their ids.
func (m *model) ids() []uint64 {
	return slices.SortedFunc(maps.Keys(m.nodes), func(x, y uint64) int {
		return strings.Compare(node(x).ID().String(), node(y).ID().String())
	})
}

// bring makes sure of a node, if make is set, and keeps the newer record.
func (m *model) bring(n *enode.Node, i uint64, create bool) *modelNode {
	nd := m.nodes[i]
	if nd == nil && create {
		nd = &modelNode{seq: n.Seq(), state: map[string]bool{}, fields: map[string]uint64{}}
		m.nodes[i] = nd
		m.noteFlagless(i)
	}
	if nd != nil {
		nd.seq = max(nd.seq, n.Seq())
	}
	return nd
}

func (m *model) cancel(i uint64, flags []string) {
	for _, t := range m.timers {
		for _, f := range flags {
			if t.node == i {
				delete(t.flags, f)
			}
		}
	}
	m.timers = slices.DeleteFunc(m.timers, func(t modelTimeout) bool { return len(t.flags) == 0 })
}

func (m *model) startTimer(i uint64, flags []string, d time.Duration) {
	if len(flags) > 0 && m.running {
		t := modelTimeout{i, map[string]bool{}, m.now + max(d, 0)}
		for _, f := range flags {
			t.flags[f] = true
		}
		m.timers = append(m.timers, t)
	}
}

func (m *model) setState(n *enode.Node, i uint64, set, reset []string, timeout time.Duration) {
	nd := m.bring(n, i, len(set) > 0)
	if nd == nil {
		return
	}
	m.cancel(i, set)
	m.cancel(i, reset)
	if timeout > 0 {
		m.startTimer(i, set, timeout)
	}
	from, to := maps.Clone(nd.state), maps.Clone(nd.state)
	for _, f := range reset {
		delete(to, f)
	}
	for _, f := range set {
		to[f] = true
	}
	m.change(i, from, to)
}

func (m *model) change(i uint64, from, to map[string]bool) {
	nd := m.nodes[i]
	defer m.noteFlagless(i)
	if maps.Equal(from, to) {
		return
	}
	nd.state = to
	if len(to) > 0 {
		nd.told = false
	}
	m.queue = append(m.queue, modelChange{node: i, from: from, to: to})
}

func (m *model) addTimeout(n *enode.Node, i uint64, flags []string, d time.Duration) {
	nd := m.bring(n, i, false)
	if nd == nil {
		return
	}
	flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return !nd.state[f] })
	m.cancel(i, flags)
	m.startTimer(i, flags, d)
}

// setField sets the field, or clears it when ok is false.
func (m *model) setField(n *enode.Node, i uint64, field string, v uint64, ok bool) {
	nd := m.bring(n, i, ok)
	if nd == nil {
		return
	}
	old, had := nd.fields[field]
	if !had && !ok {
		return
	}
	delete(nd.fields, field)
	if ok {
		nd.fields[field] = v
	}
	state := maps.Clone(nd.state)
	m.queue = append(m.queue, modelChange{i, state, state, field, text(old, had), text(v, ok)})
}

func text(v uint64, ok bool) string {
	if !ok {
		return "-"
	}
	return fmt.Sprint(v)
}

// run works off the queue: all callbacks of the oldest change, in the order of
// subscription, then those of the next. Then flagless nodes go.
func (m *model) run() {
	for {
		for len(m.queue) > 0 {
			c := m.queue[0]
			m.queue = m.queue[1:]
			for _, s := range m.subs {
				if line := m.line(s, c); line != "" {
					m.calls = append(m.calls, fmt.Sprintf("%s node %d/%d %s", s.name, c.node, m.nodes[c.node].seq, line))
					for _, r := range s.react {
						if m.budget > 0 {
							m.budget--
							m.apply(r.on(c.node))
						}
					}
				}
			}
		}
		if !m.sweep() {
			m.remember()
			return
		}
	}
}

// line says what a subscriber is told of a change; nothing if it is not.
func (m *model) line(s modelSub, c modelChange) string {
	if s.field != "" || c.field != "" {
		if s.field != c.field {
			return ""
		}
		return fmt.Sprintf("%s %s→%s", m.names(c.from), c.old, c.new)
	}
	masked := func(set map[string]bool) string {
		out := map[string]bool{}
		for _, f := range s.flags {
			out[f] = set[f]
		}
		return m.names(out)
	}
	if from, to := masked(c.from), masked(c.to); from != to {
		return from + "→" + to
	}
	return ""
}

func (m *model) noteFlagless(i uint64) {
	if len(m.nodes[i].state) == 0 && !slices.Contains(m.flagless, i) {
		m.flagless = append(m.flagless, i)
	}
}

// sweep forgets flagless nodes. Those with subscribers to their fields are told
// first, and forgotten the next time if they are still flagless.
func (m *model) sweep() (again bool) {
	list := m.flagless
	m.flagless = nil
	for _, i := range list {
		nd := m.nodes[i]
		if len(nd.state) > 0 {
			continue
		}
		if !nd.told {
			heard := false
			for _, f := range m.fields {
				_, has := nd.fields[f]
				heard = heard || has && slices.ContainsFunc(m.subs, func(s modelSub) bool { return s.field == f })
				m.setField(node(i), i, f, 0, false)
			}
			if heard {
				nd.told, again = true, true
				m.noteFlagless(i)
				continue
			}
		}
		delete(m.nodes, i)
		m.queue = slices.DeleteFunc(m.queue, func(c modelChange) bool { return c.node == i }) // nobody listens
	}
	return again
}

// advance lets time pass: each timeout that comes is an operation.
func (m *model) advance(d time.Duration) {
	end := m.now + d
	for {
		first := -1
		for i, t := range m.timers {
			if t.at <= end && (first < 0 || t.at < m.timers[first].at) {
				first = i
			}
		}
		if first < 0 {
			m.now = end
			return
		}
		t := m.timers[first]
		m.now = max(m.now, t.at)
		m.setState(node(t.node), t.node, nil, slices.Collect(maps.Keys(t.flags)), 0)
		m.run()
	}
}
