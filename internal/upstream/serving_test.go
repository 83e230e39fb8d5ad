package upstream

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/les/vflux"
	geth "github.com/ethereum/go-ethereum/les/vflux/server"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay/server"
)

// The pools of clients, side by side: package lespay/server and les/vflux/server.
// Both have the same constructor and the same methods, but types of their own, so a
// servingSide holds the methods that the works need.
type servingSide struct {
	register   func(servedPeer)
	unregister func(servedPeer)
	pay        func(enode.ID, int64)
	raise      func(*enode.Node, uint64) (uint64, error)
	ask        func(enode.ID, []byte) []byte
	stop       func()
}

const (
	servingMinCap = 100
	servingBias   = 3 * time.Minute
)

func theirServing(n int, capacity uint64) servingSide {
	p := geth.NewClientPool(memorydb.New(), servingMinCap, servingBias, mclock.System{}, func() bool { return true })
	p.Start()
	p.SetLimits(uint64(n), uint64(n)*capacity)
	p.SetDefaultFactors(geth.PriceFactors{CapacityFactor: 1, RequestFactor: 1}, geth.PriceFactors{CapacityFactor: 1, RequestFactor: 1})
	return servingSide{
		register:   func(c servedPeer) { p.Register(c) },
		unregister: func(c servedPeer) { p.Unregister(c) },
		pay: func(id enode.ID, tokens int64) {
			p.BalanceOperation(id, "", func(b geth.AtomicBalanceOperator) { _, _, _ = b.AddBalance(tokens) })
		},
		raise: func(n *enode.Node, capacity uint64) (uint64, error) { return p.SetCapacity(n, capacity, 0, true) },
		ask:   func(id enode.ID, data []byte) []byte { return p.Handle(id, "10.9.9.9", vflux.CapacityQueryName, data) },
		stop:  p.Stop,
	}
}

func ourServing(n int, capacity uint64) servingSide {
	p := server.NewClientPool(memorydb.New(), servingMinCap, servingBias, mclock.System{}, func() bool { return true })
	p.Start()
	p.SetLimits(uint64(n), uint64(n)*capacity)
	p.SetDefaultFactors(server.PriceFactors{CapacityFactor: 1, RequestFactor: 1}, server.PriceFactors{CapacityFactor: 1, RequestFactor: 1})
	return servingSide{
		register:   func(c servedPeer) { p.Register(c) },
		unregister: func(c servedPeer) { p.Unregister(c) },
		pay: func(id enode.ID, tokens int64) {
			p.BalanceOperation(id, "", func(b server.AtomicBalanceOperator) { _, _, _ = b.AddBalance(tokens) })
		},
		raise: func(n *enode.Node, capacity uint64) (uint64, error) { return p.SetCapacity(n, capacity, 0, true) },
		ask:   func(id enode.ID, data []byte) []byte { return p.Handle(id, "10.9.9.9", vflux.CapacityQueryName, data) },
		stop:  p.Stop,
	}
}

// servedPeer is a client that does nothing.
type servedPeer struct {
	node *enode.Node
	free string
}

func servedClient(i int) servedPeer {
	var id enode.ID
	big.NewInt(int64(i) + 1).FillBytes(id[:])
	return servedPeer{enode.SignNull(new(enr.Record), id), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)}
}

func (c servedPeer) Node() *enode.Node                { return c.node }
func (c servedPeer) FreeClientId() string             { return c.free }
func (c servedPeer) InactiveAllowance() time.Duration { return time.Hour }
func (c servedPeer) UpdateCapacity(uint64, bool)      {}
func (c servedPeer) Disconnect()                      {}

// fill connects n clients with tokens for different times, to all slots.
func (s servingSide) fill(tb testing.TB, n int) {
	tb.Cleanup(s.stop)
	for i := range n {
		c := servedClient(i)
		s.pay(c.node.ID(), 1e15+1e12*int64(i*7919%n))
		s.register(c)
	}
}

// Each work is done by either side with 1,000 and with 10,000 slots, all taken.
func BenchmarkTheirsConnect(b *testing.B)    { eachSize(b, theirServing, 1, connect) }
func BenchmarkOursConnect(b *testing.B)      { eachSize(b, ourServing, 1, connect) }
func BenchmarkTheirsDisconnect(b *testing.B) { eachSize(b, theirServing, 1, disconnect) }
func BenchmarkOursDisconnect(b *testing.B)   { eachSize(b, ourServing, 1, disconnect) }
func BenchmarkTheirsRaise(b *testing.B)      { eachSize(b, theirServing, 1, raise) }
func BenchmarkOursRaise(b *testing.B)        { eachSize(b, ourServing, 1, raise) }
func BenchmarkTheirsQuery(b *testing.B)      { eachSize(b, theirServing, 2, query) }
func BenchmarkOursQuery(b *testing.B)        { eachSize(b, ourServing, 2, query) }

type makeServing func(n int, capacity uint64) servingSide

// eachSize runs a work on one side, with n slots and n times so many times the
// smallest capacity.
func eachSize(b *testing.B, side makeServing, times uint64, work func(*testing.B, servingSide, int)) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := side(n, times*servingMinCap)
			s.fill(b, n)
			work(b, s, n)
		})
	}
}

// timed reports how long work takes, without what makes it possible once more.
func timed(b *testing.B, work, undo func()) {
	var spent time.Duration
	for b.Loop() {
		start := time.Now()
		work()
		spent += time.Since(start)
		undo()
	}
	b.ReportMetric(float64(spent)/float64(b.N), "ns/op")
}

// A rich client connects, for whom the poorest one has to go.
func connect(b *testing.B, s servingSide, n int) {
	c := servedClient(n)
	s.pay(c.node.ID(), 1e18)
	timed(b, func() { s.register(c) }, func() { s.unregister(c) })
}

// It disconnects, and the other one gets its place again.
func disconnect(b *testing.B, s servingSide, n int) {
	c := servedClient(n)
	s.pay(c.node.ID(), 1e18)
	s.register(c)
	timed(b, func() { s.unregister(c) }, func() { s.register(c) })
}

// A rich client raises its capacity a hundredfold, for which others have to go.
func raise(b *testing.B, s servingSide, n int) {
	c := servedClient(n - 1)
	s.pay(c.node.ID(), 1e18)
	to := func(capacity uint64) func() {
		return func() {
			if got, err := s.raise(c.node, capacity); err != nil || got < capacity*9/10 {
				b.Fatal(got, err)
			}
		}
	}
	timed(b, to(100*servingMinCap), to(servingMinCap))
}

// A stranger asks for its capacity after one client has changed its own, of which
// there is enough.
func query(b *testing.B, s servingSide, n int) {
	data, err := rlp.EncodeToBytes(&vflux.CapacityQueryReq{Bias: 180, AddTokens: make([]vflux.IntOrInf, 1)})
	if err != nil {
		b.Fatal(err)
	}
	member, stranger := servedClient(0), servedClient(n+1)
	s.pay(stranger.node.ID(), 1e17)
	capacity := uint64(servingMinCap)
	timed(b, func() {
		if len(s.ask(stranger.node.ID(), data)) == 0 {
			b.Fatal("no answer")
		}
	}, func() {
		capacity ^= 1
		if _, err := s.raise(member.node, capacity); err != nil {
			b.Fatal(err)
		}
	})
}
