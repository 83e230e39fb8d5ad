package nodestate

import (
	"reflect"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Meter counts events; go-ethereum's meters of every version fit.
type Meter interface{ Mark(int64) }

// Gauge shows a number; go-ethereum's gauges of every version fit.
type Gauge interface{ Update(int64) }

// AddLogMetrics counts the nodes that have all flags of require and none of
// disable: inMeter marks each that comes to match, outMeter each that ceases
// to, gauge shows how many do. Meters and gauge may be nil. A name that is not
// empty has each such event logged at trace level. Before Start only.
func (ns *NodeStateMachine) AddLogMetrics(require, disable Flags, name string, inMeter, outMeter Meter, gauge Gauge) {
	var count int64
	flags := MergeFlags(require, disable, ns.setup.OfflineFlag())
	if require.IsEmpty() {
		flags = Flags{^uint64(0), ns.setup} // any flag makes a node known
	}
	matches := func(f Flags) bool {
		return f.mask != 0 && f.mask&offlineMask == 0 && f.HasAll(require) && f.HasNone(disable)
	}
	mark := func(m Meter) {
		if !isNil(m) {
			m.Mark(1)
		}
	}
	ns.SubscribeState(flags, func(_ Op, n *enode.Node, oldState, newState Flags) {
		was, is := matches(oldState), matches(newState)
		switch {
		case is == was:
			return
		case is:
			count++
			mark(inMeter)
		default:
			count--
			mark(outMeter)
		}
		if !isNil(gauge) {
			gauge.Update(count)
		}
		if name != "" {
			ns.log.Trace("Node state "+name, "id", n.ID(), "entered", is, "count", count)
		}
	})
}

// Stats is a summary for a status page.
type Stats struct {
	Nodes      int         // in memory
	Flags      []FlagCount // in the order of definition
	QueuePeak  int         // most changes that ever waited in one operation
	Unwritten  int         // nodes whose state is not in the store yet
	BadEntries int         // stored nodes that could not be read at Start
}

// FlagCount is the number of nodes that have a flag.
type FlagCount struct {
	Flag  string
	Nodes int
}

// Stats returns a summary. It may be called anywhere and waits for no
// operation; the peak and the unwritten nodes are those of the last one's end.
func (ns *NodeStateMachine) Stats() Stats {
	nodes := ns.table.collect(0, 0)
	st := Stats{
		Nodes:      len(nodes),
		QueuePeak:  int(ns.peak.Load()),
		Unwritten:  int(ns.unwritten.Load()),
		BadEntries: int(ns.badEntries.Load()),
	}
	if ns.saver != nil {
		st.Unwritten += int(ns.saver.count.Load())
	}
	for i, def := range ns.setup.flags[1:] {
		count := FlagCount{Flag: def.name}
		for _, n := range nodes {
			count.Nodes += int(n.state >> (i + 1) & 1)
		}
		st.Flags = append(st.Flags, count)
	}
	return st
}

// isNil tells whether v is nil or holds a nil pointer.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}
