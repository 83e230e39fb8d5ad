package upstream

import (
	"reflect"
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	geth "github.com/ethereum/go-ethereum/p2p/nodestate"
	"github.com/ethereum/go-ethereum/rlp"
)

// theirStored is go-ethereum's machine over a database, with a persistent flag
// and a persistent field, a subscriber each.
type theirStored struct {
	ns    *geth.NodeStateMachine
	flag  geth.Flags
	field geth.Field
	calls int
}

func newTheirStored(db ethdb.KeyValueStore) *theirStored {
	setup := &geth.Setup{Version: setupVersion}
	s := &theirStored{
		flag: setup.NewPersistentFlag("flag"),
		field: setup.NewPersistentField("field", reflect.TypeOf(uint64(0)),
			func(v interface{}) ([]byte, error) { return rlp.EncodeToBytes(v) },
			func(b []byte) (interface{}, error) {
				var v uint64
				err := rlp.DecodeBytes(b, &v)
				return v, err
			}),
	}
	s.ns = geth.NewNodeStateMachine(db, dbPrefix, mclock.System{}, setup)
	s.ns.SubscribeState(s.flag, func(_ *enode.Node, _, _ geth.Flags) { s.calls++ })
	s.ns.SubscribeField(s.field, func(_ *enode.Node, _ geth.Flags, _, _ interface{}) { s.calls++ })
	return s
}

// fill gives every node the flag and a value.
func (s *theirStored) fill(nodes []*enode.Node) {
	for i, n := range nodes {
		s.ns.SetState(n, s.flag, geth.Flags{}, 0)
		s.ns.SetField(n, s.field, firstValue+uint64(i))
	}
}

func BenchmarkTheirsStart(b *testing.B) {
	db := storedDB(b, numStored)
	for b.Loop() {
		b.StopTimer()
		s := newTheirStored(db)
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

func BenchmarkTheirsStop(b *testing.B) {
	nodes := makeRecords(b, numStored)
	for b.Loop() {
		b.StopTimer()
		s := newTheirStored(openDB(b))
		s.ns.Start()
		s.fill(nodes)
		collectGarbage()
		b.StartTimer()
		s.ns.Stop()
	}
}
