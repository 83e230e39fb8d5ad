package nodestate_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// Random programs run on the machine and on the model; after every step all
// calls of subscribers, all states and fields, and the store are the same.
// For a long run: go test -run AgainstModel -rapid.checks=10000
func TestAgainstModel(t *testing.T) {
	var steps, calls atomic.Int64
	rapid.Check(t, func(t *rapid.T) {
		p := newProgram(t)
		p.start()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p.step()
			p.compare()
			steps.Add(1)
			calls.Add(int64(p.calls))
		}
		p.model.budget, p.budget = 0, 0
		p.stop()
		p.compare()
	})
	t.Logf("%d random steps, %d callbacks compared", steps.Load(), calls.Load())
}

const programNodes = 5

// act is a change of one node, to be made on both sides.
type act struct {
	kind       string // "state", "field", "clear" or "timeout"
	node, seq  uint64
	set, reset []string
	field      string
	value      uint64
	after      time.Duration
}

// on is the act for a callback about the given node: act.node is an offset.
func (a act) on(i uint64) act {
	a.node = (a.node + i) % programNodes
	return a
}

func (m *model) apply(a act) {
	n := nodeSeq(a.node, a.seq)
	switch a.kind {
	case "state":
		m.setState(n, a.node, a.set, a.reset, a.after)
	case "timeout":
		m.addTimeout(n, a.node, a.set, a.after)
	default:
		m.setField(n, a.node, a.field, a.value, a.kind == "field")
	}
}

func drawAct(t *rapid.T, m *model, shortest time.Duration) act {
	set := func(label string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(m.flags), 0, 3, rapid.ID[string]).Draw(t, label)
	}
	return act{
		kind:  rapid.SampledFrom([]string{"state", "state", "state", "field", "clear", "timeout"}).Draw(t, "kind"),
		node:  rapid.Uint64Range(0, programNodes-1).Draw(t, "node"),
		seq:   rapid.Uint64Range(1, 3).Draw(t, "seq"),
		set:   set("set"),
		reset: set("reset"),
		field: rapid.SampledFrom(m.fields).Draw(t, "field"),
		value: rapid.Uint64Range(0, 2).Draw(t, "value"),
		after: max(shortest, time.Duration(rapid.IntRange(-2, 15).Draw(t, "after"))*time.Second),
	}
}

// program is a machine, a model, and what both are made from.
type program struct {
	*rapid.T
	model  *model
	store  *testutil.FaultyStore
	table  *table
	flags  map[string]Flags
	fields map[string]Field[uint64]
	trace
	budget int
	calls  int
}

func newProgram(t *rapid.T) *program {
	m := &model{persistent: map[string]bool{}}
	m.crash()
	m.disk = map[uint64]modelEntry{}
	for i := range rapid.IntRange(2, 6).Draw(t, "flags") {
		m.flags = append(m.flags, fmt.Sprintf("f%d", i))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "fields") {
		m.fields = append(m.fields, fmt.Sprintf("v%d", i))
	}
	for _, name := range slices.Concat(m.flags, m.fields) {
		m.persistent[name] = rapid.Bool().Draw(t, name+" persistent")
	}
	for i := range rapid.IntRange(1, 8).Draw(t, "subscribers") {
		s := modelSub{name: fmt.Sprintf("sub%d", i)}
		if rapid.IntRange(0, 3).Draw(t, "on a field") == 0 {
			s.field = rapid.SampledFrom(m.fields).Draw(t, "field")
		} else {
			all := append([]string{"offline"}, m.flags...)
			s.flags = rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, -1, rapid.ID[string]).Draw(t, "flags")
		}
		for range rapid.IntRange(0, 2).Draw(t, "reactions") {
			s.react = append(s.react, drawAct(t, m, time.Second))
		}
		m.subs = append(m.subs, s)
	}
	return &program{T: t, model: m, store: testutil.NewFaultyStore()}
}

// start makes a machine on the present store and starts both sides.
func (p *program) start() {
	m := p.model
	setup := new(Setup)
	p.flags, p.fields = map[string]Flags{"offline": setup.OfflineFlag()}, map[string]Field[uint64]{}
	for _, f := range m.flags {
		if m.persistent[f] {
			p.flags[f] = setup.NewPersistentFlag(f)
		} else {
			p.flags[f] = setup.NewFlag(f)
		}
	}
	for _, f := range m.fields {
		if m.persistent[f] {
			p.fields[f] = NewPersistentField(setup, f, RLPCodec[uint64]())
		} else {
			p.fields[f] = NewField[uint64](setup, f)
		}
	}
	p.table = &table{clock: new(testutil.Clock), log: newLogbook()}
	p.table.NodeStateMachine = New(setup, Config{Store: p.store, Clock: p.table.clock, Log: p.table.log})
	for _, s := range m.subs {
		p.subscribe(s)
	}
	m.now, m.budget, p.budget = 0, 30, 30
	m.start()
	require.NoError(p, p.table.Start())
	p.compare()
}

func (p *program) subscribe(s modelSub) {
	react := func(op Op, n *enode.Node, format string, args ...any) {
		i := indexOf(n)
		p.add("%s node %d/%d %s", s.name, i, n.Seq(), fmt.Sprintf(format, args...))
		for _, r := range s.react {
			if p.budget > 0 {
				p.budget--
				p.apply(op, r.on(i))
			}
		}
	}
	if s.field != "" {
		p.fields[s.field].Subscribe(p.table.NodeStateMachine, func(op Op, n *enode.Node, st Flags, from, to Value[uint64]) {
			react(op, n, "%v %s→%s", st, show(from), show(to))
		})
		return
	}
	p.table.SubscribeState(p.set(s.flags), func(op Op, n *enode.Node, from, to Flags) {
		react(op, n, "%v→%v", from, to)
	})
}

func (p *program) set(names []string) (set Flags) {
	for _, f := range names {
		set = set.Or(p.flags[f])
	}
	return set
}

func (p *program) apply(op Op, a act) {
	n := nodeSeq(a.node, a.seq)
	switch a.kind {
	case "state":
		op.SetState(n, p.set(a.set), p.set(a.reset), a.after)
	case "timeout":
		op.AddTimeout(n, p.set(a.set), a.after)
	case "field":
		p.fields[a.field].SetIn(op, n, a.value)
	case "clear":
		p.fields[a.field].ClearIn(op, n)
	}
}

// call is apply as an operation of its own.
func (p *program) call(a act) error {
	ns, n := p.table.NodeStateMachine, nodeSeq(a.node, a.seq)
	switch a.kind {
	case "state":
		return ns.SetState(n, p.set(a.set), p.set(a.reset), a.after)
	case "timeout":
		return ns.AddTimeout(n, p.set(a.set), a.after)
	case "field":
		return p.fields[a.field].Set(ns, n, a.value)
	default:
		return p.fields[a.field].Clear(ns, n)
	}
}

// step makes a random change of both sides.
func (p *program) step() {
	m := p.model
	m.budget, p.budget = 30, 30
	switch kind := rapid.IntRange(0, 19).Draw(p.T, "step"); {
	case kind < 9:
		a := drawAct(p.T, m, -time.Hour)
		m.apply(a)
		m.run()
		require.NoError(p, p.call(a))
	case kind < 12:
		var acts []act
		for range rapid.IntRange(0, 5).Draw(p.T, "acts") {
			acts = append(acts, drawAct(p.T, m, -time.Hour))
		}
		for _, a := range acts {
			m.apply(a)
		}
		m.run()
		require.NoError(p, p.table.Operation(func(op Op) {
			for _, a := range acts {
				p.apply(op, a)
			}
		}))
	case kind < 16:
		d := time.Duration(rapid.IntRange(0, 12_000).Draw(p.T, "ms")) * time.Millisecond
		m.advance(d)
		p.table.clock.Run(d)
	case kind < 18:
		i, seq := rapid.Uint64Range(0, programNodes-1).Draw(p.T, "node"), rapid.Uint64Range(1, 5).Draw(p.T, "seq")
		m.bring(nodeSeq(i, seq), i, false)
		m.remember()
		require.NoError(p, p.table.Persist(nodeSeq(i, seq)))
		if m.nodes[i] != nil {
			require.Equal(p, m.entry(i), p.stored()[i], "persisted")
		}
	case kind == 18:
		p.stop()
		p.start()
	default:
		p.crash()
	}
}

func (p *program) stop() {
	p.model.stop()
	p.table.Stop()
	require.Zero(p, p.table.clock.Timers())
	require.Equal(p, p.model.disk, p.stored())
}

// crash goes on with the store as it is, without Stop.
func (p *program) crash() {
	p.compare()
	old, image := p.table, testutil.NewFaultyStore()
	it := p.store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		require.NoError(p, image.Put(it.Key(), it.Value()))
	}
	p.model.disk = p.stored()
	p.model.crash()
	p.budget = 0
	old.Stop()
	p.take()
	p.model.calls = nil
	p.store = image
	p.start()
}

// compare compares everything.
func (p *program) compare() {
	m, ns := p.model, p.table.NodeStateMachine
	calls := p.take()
	require.Equal(p, m.calls, calls)
	p.calls, m.calls = len(calls), nil
	require.Equal(p, m.budget, p.budget)
	require.Equal(p, len(m.nodes), ns.Stats().Nodes)
	stored := p.stored()
	for i := range uint64(programNodes) {
		nd, n := m.nodes[i], ns.GetNode(node(i).ID())
		require.Equal(p, nd != nil, n != nil, "node %d", i)
		want := &modelNode{}
		if nd != nil {
			want = nd
			require.Equal(p, nd.seq, n.Seq())
		}
		require.Equal(p, m.names(want.state), ns.GetState(node(i)).String(), "node %d", i)
		for name, f := range p.fields {
			got, ok := f.Get(ns, node(i))
			v, has := want.fields[name]
			require.Equal(p, text(v, has), text(got, ok), "node %d %s", i, name)
		}
		if m.running {
			require.Contains(p, m.recent(i), stored[i], "node %d at %v", i, m.now)
		}
	}
}

// stored returns what is on disk, in the model's terms.
func (p *program) stored() map[uint64]modelEntry {
	entries := make(map[uint64]modelEntry)
	it := p.store.Database.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		var e entry
		require.NoError(p, rlp.DecodeBytes(it.Value(), &e))
		state := make(map[string]bool)
		for i, f := range p.model.flags {
			if e.State>>(i+1)&1 != 0 {
				state[f] = true
			}
		}
		var fields strings.Builder
		for i, enc := range e.Fields {
			var v uint64
			if len(enc) > 0 {
				require.NoError(p, rlp.DecodeBytes(enc, &v))
				fmt.Fprintf(&fields, "%s=%d ", p.model.fields[i], v)
			}
		}
		entries[indexes[enode.ID(it.Key())]] = modelEntry{e.Record.Seq(), p.model.names(state), fields.String()}
	}
	return entries
}

// indexes leads back from ids to the numbers of test nodes.
var indexes = func() map[enode.ID]uint64 {
	byID := make(map[enode.ID]uint64)
	for i := range uint64(programNodes) {
		byID[node(i).ID()] = i
	}
	return byID
}()

func indexOf(n *enode.Node) uint64 { return indexes[n.ID()] }
