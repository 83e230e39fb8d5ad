package nodestate_test

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/metrics"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// counter is a meter and a gauge.
type counter struct{ marks, value int64 }

func (c *counter) Mark(n int64)   { c.marks += n }
func (c *counter) Update(v int64) { c.value = v }

func TestLogMetricsCountNodes(t *testing.T) {
	store := testutil.NewFaultyStore()
	open := func() (ns *table, a, b Flags, in, out, now *counter) {
		setup := new(Setup)
		a, b = setup.NewPersistentFlag("a"), setup.NewFlag("b")
		ns = lay(t, setup, Config{Store: store})
		in, out, now = new(counter), new(counter), new(counter)
		ns.AddLogMetrics(a, b, "idle", in, out, now)
		require.NoError(t, ns.Start())
		return
	}
	ns, a, b, in, out, now := open()
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, ns.SetState(node(2), a, none, 0))
	require.NoError(t, ns.SetState(node(2), b, none, 0))
	require.NoError(t, ns.SetState(node(3), b, none, 0))
	require.Equal(t, []int64{2, 1, 1}, []int64{in.marks, out.marks, now.value})
	logged := ns.log.take()
	require.Len(t, logged, 3)
	require.Contains(t, logged[2], "trace Node state idle")
	require.Contains(t, logged[2], "entered=false count=1")
	ns.Stop()
	require.Zero(t, now.value)

	_, _, _, in, out, now = open()
	require.Equal(t, []int64{2, 0, 2}, []int64{in.marks, out.marks, now.value}, "loaded nodes count")
}

// Without required flags every node counts that does not have a disabled one.
func TestLogMetricsOfAllNodes(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewFlag("a"), setup.NewFlag("b")
	ns := lay(t, setup, Config{})
	var all, notB counter
	ns.AddLogMetrics(none, none, "", nil, nil, &all)
	ns.AddLogMetrics(none, b, "", nil, nil, &notB)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, ns.SetState(node(2), b, none, 0))
	require.Equal(t, []int64{2, 1}, []int64{all.value, notB.value})
	require.NoError(t, ns.SetState(node(1), b, none, 0))
	require.Equal(t, []int64{2, 0}, []int64{all.value, notB.value})
	require.NoError(t, ns.SetState(node(1), none, a.Or(b), 0))
	require.Equal(t, []int64{1, 0}, []int64{all.value, notB.value})
	require.Empty(t, ns.log.take(), "no name, no log")
}

// go-ethereum's own types fit; nil, also inside an interface, is left out.
func TestLogMetricsOfGoEthereum(t *testing.T) {
	setup := new(Setup)
	a := setup.NewFlag("a")
	ns := lay(t, setup, Config{})
	gauge := metrics.NewRegisteredGauge("nodestate/test/gauge", metrics.NewRegistry())
	meter := metrics.NewMeter()
	defer meter.Stop()
	var nilCounter *counter
	ns.AddLogMetrics(a, none, "", meter, nil, gauge)
	ns.AddLogMetrics(a, none, "", nil, nil, nil)
	ns.AddLogMetrics(a, none, "", nilCounter, nilCounter, nilCounter)
	require.NoError(t, ns.Start())
	require.NoError(t, ns.SetState(node(1), a, none, 0))
	require.NoError(t, ns.SetState(node(1), none, a, 0))
}

func TestStats(t *testing.T) {
	setup := new(Setup)
	a, b := setup.NewPersistentFlag("a"), setup.NewFlag("b")
	ns := begin(t, setup, Config{Store: testutil.NewFaultyStore()})
	require.NoError(t, ns.Operation(func(op Op) {
		for i := range uint64(5) {
			op.SetState(node(i), a, none, 0)
		}
		op.SetState(node(0), b, none, 0)
	}))
	want := Stats{Nodes: 5, Flags: []FlagCount{{"a", 5}, {"b", 1}}, QueuePeak: 6, Unwritten: 5}
	require.Equal(t, want, ns.Stats())
	ns.clock.Run(10 * time.Second)
	want.Unwritten = 0
	require.Equal(t, want, ns.Stats())
	require.NoError(t, ns.SetState(node(1), none, a, 0))
	want.Nodes, want.Flags[0].Nodes, want.Unwritten = 4, 4, 1
	require.Equal(t, want, ns.Stats())
	ns.ForEach(none, none, func(*enode.Node, Flags) {})
}
