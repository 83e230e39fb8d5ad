package upstream

import (
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/nodestate"
)

// ourStored is this project's machine over a database, with a persistent flag
// and a persistent field, a subscriber each. Like the other side it writes
// nothing before Stop.
type ourStored struct {
	ns    *nodestate.NodeStateMachine
	flag  nodestate.Flags
	field nodestate.Field[uint64]
	calls int
}

func newOurStored(db ethdb.KeyValueStore) *ourStored {
	setup := &nodestate.Setup{Version: setupVersion}
	s := &ourStored{
		flag:  setup.NewPersistentFlag("flag"),
		field: nodestate.NewPersistentField(setup, "field", nodestate.RLPCodec[uint64]()),
	}
	s.ns = nodestate.New(setup, nodestate.Config{
		Store:         db,
		Prefix:        dbPrefix,
		Clock:         mclock.System{},
		FlushInterval: nodestate.FlushAtStop,
	})
	s.ns.SubscribeState(s.flag, func(_ nodestate.Op, _ *enode.Node, _, _ nodestate.Flags) { s.calls++ })
	s.field.Subscribe(s.ns, func(_ nodestate.Op, _ *enode.Node, _ nodestate.Flags, _, _ nodestate.Value[uint64]) {
		s.calls++
	})
	return s
}

// fill gives every node the flag and a value.
func (s *ourStored) fill(nodes []*enode.Node) {
	for i, n := range nodes {
		s.ns.SetState(n, s.flag, nodestate.Flags{}, 0)
		s.field.Set(s.ns, n, firstValue+uint64(i))
	}
}

func BenchmarkOursStart(b *testing.B) {
	db := storedDB(b, numStored)
	for b.Loop() {
		b.StopTimer()
		s := newOurStored(db)
		collectGarbage()
		b.StartTimer()
		s.ns.Start()
		b.StopTimer()
		if s.calls != 2*numStored {
			b.Fatal("calls:", s.calls)
		}
		s.ns.Stop()
		b.StartTimer()
	}
}

func BenchmarkOursStop(b *testing.B) {
	nodes := makeRecords(b, numStored)
	for b.Loop() {
		b.StopTimer()
		s := newOurStored(openDB(b))
		s.ns.Start()
		s.fill(nodes)
		collectGarbage()
		b.StartTimer()
		s.ns.Stop()
	}
}
