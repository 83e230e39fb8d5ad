package server

import (
	"net"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/metrics"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/udpquery"
)

// What existing servers call, with the types they call it with: this file does not
// compile if one of them has changed.
var (
	_ func(ethdb.KeyValueStore, uint64, time.Duration, mclock.Clock, func() bool) *ClientPool = NewClientPool
	_ func(time.Duration) *Server                                                             = NewServer
	_ interface {
		Start()
		Stop()
		Register(Peer) ConnectedBalance
		Unregister(Peer)
		SetConnectedBias(time.Duration)
		SetCapacity(*enode.Node, uint64, time.Duration, bool) (uint64, error)
		Handle(id enode.ID, address string, name string, data []byte) []byte
		SetLimits(maxCount, maxCap uint64)
		Limits() (uint64, uint64)
		Active() (uint64, uint64)
		Inactive() int
		SetDefaultFactors(posFactors, negFactors PriceFactors)
		BalanceOperation(enode.ID, string, func(AtomicBalanceOperator))
		GetPosBalanceIDs(start, stop enode.ID, maxCount int) []enode.ID
		TotalTokenAmount() uint64
		SetExpirationTCs(pos, neg uint64)
		GetExpirationTCs() (pos, neg uint64)
	} = (*ClientPool)(nil)
	_ interface {
		ServeEncoded(id enode.ID, addr *net.UDPAddr, req []byte) []byte
		Serve(id enode.ID, address string, requests udpquery.Requests) udpquery.Replies
		Stop()
	} = (*Server)(nil)
	_ Service = (*ClientPool)(nil)
	_         = PriceFactors{TimeFactor: 0, CapacityFactor: 1, RequestFactor: 1}
	_         = []error{ErrNotConnected, ErrNoPriority, ErrCantFindMaximum}
)

// Types of every go-ethereum version fit.
var (
	_ Store           = ethdb.KeyValueStore(nil)
	_ Store           = (*leveldb.Database)(nil)
	_ Gauge           = metrics.NewGauge()
	_ Meter           = metrics.NewMeter()
	_ udpquery.Valuer = (*ClientPool)(nil)
)

var _ = func(b ConnectedBalance) (lespay.ExpiredValue, lespay.ExpiredValue) { return b.GetRawBalance() }

// An existing server's way: wire it up as it does, with its simulated clock.
func TestExistingServer(t *testing.T) {
	clock := new(mclock.Simulated)
	p := NewClientPool(memorydb.New(), 100, 0, clock, func() bool { return true })
	p.Start()
	defer p.Stop()
	p.SetLimits(2, 1000)
	p.SetDefaultFactors(PriceFactors{0, 1, 1}, PriceFactors{0, 1, 1})
	s := NewServer(0)
	defer s.Stop()
	require.NoError(t, s.Register(p, "les", "Ethereum light client service"))
	w := &world{ClientPool: p, t: t}
	a := w.connect(1)
	require.EqualValues(t, 100, a.capacity)
	pos, neg := a.balance.GetPriceFactors()
	require.Equal(t, PriceFactors{0, 1, 1}, pos)
	require.Equal(t, PriceFactors{0, 1, 1}, neg)
	count, capacity := p.Active()
	require.EqualValues(t, 1, count)
	require.EqualValues(t, 100, capacity)
	clock.Run(time.Second)
	p.Unregister(a)
	require.Zero(t, p.Inactive())
}

// What New refuses, the older constructor makes the best of.
func TestNewClientPoolNeverFails(t *testing.T) {
	p := NewClientPool(memorydb.New(), 0, -time.Second, nil, nil)
	p.Start()
	p.SetLimits(1, 10)
	w := &world{ClientPool: p, t: t}
	require.EqualValues(t, 1, w.connect(1).capacity)
	p.Stop()

	useless := NewClientPool(nil, 100, 0, nil, nil)
	w = &world{ClientPool: useless, t: t}
	useless.Start()
	useless.SetLimits(1, 100)
	require.True(t, useless.Register(w.newPeer(1)) == nil)
	require.Zero(t, useless.TotalTokenAmount())
	require.Empty(t, useless.GetPosBalanceIDs(enode.ID{}, enode.ID{}, 5))
	useless.BalanceOperation(nodeID(1), "", func(AtomicBalanceOperator) { t.Error("called") })
	require.Nil(t, w.ask(1, 0, 0))
	useless.Stop()
}
