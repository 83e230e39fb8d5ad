package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/udpquery"
)

// The clients of the benchmarks have the prices of light servers, and tokens for
// different times. The pool is full: whoever connects takes somebody's place.
func benchPool(b *testing.B, n int, capacity uint64) (*ClientPool, *testutil.Clock) {
	clock := new(testutil.Clock)
	p, err := New(Config{
		Store: memorydb.New(), MinCapacity: testMinCap, MaxClients: uint64(n), Clock: clock,
		MaxCapacity: uint64(n) * capacity, ConnectedBias: 3 * time.Minute, CacheSize: 4 * n,
	})
	if err != nil {
		b.Fatal(err)
	}
	p.Start()
	clock.Run(time.Hour)
	for i := range n {
		c := benchClient(i)
		p.BalanceOperation(c.Node().ID(), "", func(o AtomicBalanceOperator) {
			_, _, _ = o.AddBalance(1e15 + 1e12*int64(i*7919%n))
		})
		p.Register(c)
		if got, err := p.SetCapacity(c.node, capacity, 0, true); err != nil || got != capacity {
			b.Fatal(got, err)
		}
	}
	b.Cleanup(p.Stop)
	return p, clock
}

type benchPeer struct {
	node *enode.Node
	free string
}

func benchClient(i int) benchPeer { return benchPeer{testutil.FakeNode(uint64(i), 1), address(i)} }

func (c benchPeer) Node() *enode.Node                { return c.node }
func (c benchPeer) FreeClientId() string             { return c.free }
func (c benchPeer) InactiveAllowance() time.Duration { return time.Hour }
func (c benchPeer) UpdateCapacity(uint64, bool)      {}
func (c benchPeer) Disconnect()                      {}

func eachSize(b *testing.B, f func(b *testing.B, n int, capacity uint64)) {
	for _, n := range []int{1000, 10000} {
		for _, times := range []uint64{1, 100} {
			b.Run(fmt.Sprintf("clients=%d/capacity=%dx", n, times), func(b *testing.B) { f(b, n, times*testMinCap) })
		}
	}
}

// A rich client connects, which drives out the poorest one, and disconnects, which
// lets that one in again.
func BenchmarkConnectDisconnect(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, capacity uint64) {
		p, _ := benchPool(b, n, capacity)
		c := benchClient(n)
		p.BalanceOperation(c.node.ID(), "", func(o AtomicBalanceOperator) { _, _, _ = o.AddBalance(1e18) })
		b.ReportAllocs()
		for b.Loop() {
			p.Register(c)
			p.Unregister(c)
		}
	})
}

// A client raises its capacity a hundredfold, at the cost of others, and lowers it.
func BenchmarkRaise(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("clients=%d", n), func(b *testing.B) {
			p, _ := benchPool(b, n, testMinCap)
			c := benchClient(n - 1)
			p.BalanceOperation(c.node.ID(), "", func(o AtomicBalanceOperator) { _, _, _ = o.AddBalance(1e18) })
			b.ReportAllocs()
			for b.Loop() {
				if got, err := p.SetCapacity(c.node, 100*testMinCap, 0, true); err != nil || got != 100*testMinCap {
					b.Fatal(got, err)
				}
				if _, err := p.SetCapacity(c.node, testMinCap, 0, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A stranger asks by UDP, for one amount and for sixteen, after a client has
// changed what it has.
func BenchmarkCapacityQuery(b *testing.B) {
	for _, amounts := range []int{1, 16} {
		b.Run(fmt.Sprintf("amounts=%d", amounts), func(b *testing.B) {
			eachSize(b, func(b *testing.B, n int, capacity uint64) {
				p, _ := benchPool(b, n, capacity)
				q := udpquery.CapacityQueryReq{Bias: 180, AddTokens: make([]udpquery.IntOrInf, amounts)}
				for i := range q.AddTokens {
					q.AddTokens[i].SetInt64(2e17 * int64(i+1))
				}
				data, err := q.Encode()
				if err != nil {
					b.Fatal(err)
				}
				asker, member := testutil.FakeNode(1e6, 1).ID(), benchClient(0)
				b.ReportAllocs()
				for capacity := uint64(0); b.Loop(); capacity++ {
					_, _ = p.SetCapacity(member.node, testMinCap+capacity%2, 0, true) // changes the curve
					if p.Handle(asker, "10.9.9.9", "cq", data) == nil {
						b.Fatal("no answer")
					}
				}
			})
		})
	}
}

// The same a second later, when the worth of all clients has to be looked at anew.
func BenchmarkCapacityQueryEachSecond(b *testing.B) {
	eachSize(b, func(b *testing.B, n int, capacity uint64) {
		p, clock := benchPool(b, n, capacity)
		asker := testutil.FakeNode(1e6, 1).ID()
		for b.Loop() {
			clock.Run(time.Second)
			p.queryCapacity(asker, "10.9.9.9", time.Minute, []int64{0})
		}
	})
}

func BenchmarkRequestServed(b *testing.B) {
	p, clock := benchPool(b, 1000, testMinCap)
	balance := p.mu.clients[benchClient(5).node.ID()]
	b.ReportAllocs()
	for b.Loop() {
		clock.Run(1000)
		balance.RequestServed(1000)
	}
}
