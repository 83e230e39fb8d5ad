package server

import (
	"fmt"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/udpquery"
)

// tb is what tests and rapid programs have in common.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
}

// world is a pool with its clock and its store. Every client costs one token, or
// one unit of debt, per ns and million of capacity, and per unit of request cost,
// unless a test sets other prices.
type world struct {
	*ClientPool
	t     tb
	clock *testutil.Clock
	store *testutil.FaultyStore
	peers []*peer // registered ones
}

const testMinCap = 100

// perNs are prices of one token per ns, whatever the capacity, and per unit of
// request cost.
var perNs = PriceFactors{TimeFactor: 1, RequestFactor: 1}

func newWorld(t tb, change func(*Config)) *world {
	return newWorldOn(t, testutil.NewFaultyStore(), change)
}

func newWorldOn(t tb, store *testutil.FaultyStore, change func(*Config)) *world {
	w := &world{t: t, clock: new(testutil.Clock), store: store}
	w.clock.Run(time.Hour)
	cfg := Config{
		Store: store, MinCapacity: testMinCap, MaxClients: 10, MaxCapacity: 1000, Clock: w.clock,
		TokenPrices: perNs, DebtPrices: perNs, DebtLifetime: -1,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	w.ClientPool, err = New(cfg)
	require.NoError(t, err)
	w.Start()
	w.clock.Run(0)
	if cleaner, ok := t.(interface{ Cleanup(func()) }); ok {
		cleaner.Cleanup(w.Stop)
	}
	return w
}

// peer is a client that records what it is told.
type peer struct {
	w         *world
	node      *enode.Node
	free      string
	allowance time.Duration
	balance   ConnectedBalance

	mu           sync.Mutex
	capacity     uint64
	requested    bool
	disconnected int
	calls        []string
	onUpdate     func()
	onDisconnect func()
	left         bool
}

func nodeID(i int) enode.ID { return testutil.FakeNode(uint64(i), 1).ID() }

// newPeer makes the i-th client, at an address of its own, without registering it.
func (w *world) newPeer(i int) *peer {
	return &peer{w: w, node: testutil.FakeNode(uint64(i), 1), free: address(i)}
}

func address(i int) string { return fmt.Sprintf("10.0.%d.%d", i>>8, i&255) }

// connect registers the i-th client.
func (w *world) connect(i int) *peer {
	p := w.newPeer(i)
	p.register()
	return p
}

func (p *peer) register() {
	p.balance = p.w.Register(p)
	require.NotNil(p.w.t, p.balance)
	p.left = false
	p.w.peers = append(p.w.peers, p)
}

func (p *peer) leave() {
	p.w.Unregister(p)
	p.mu.Lock()
	p.left = true
	p.capacity = 0
	p.mu.Unlock()
	for i, other := range p.w.peers {
		if other == p {
			p.w.peers = append(p.w.peers[:i:i], p.w.peers[i+1:]...)
		}
	}
}

func (p *peer) Node() *enode.Node                { return p.node }
func (p *peer) FreeClientId() string             { return p.free }
func (p *peer) InactiveAllowance() time.Duration { return p.allowance }

func (p *peer) UpdateCapacity(capacity uint64, requested bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left || capacity == p.capacity {
		p.w.t.Errorf("UpdateCapacity(%d) after %v, left: %v", capacity, p.calls, p.left)
	}
	p.capacity, p.requested = capacity, requested
	p.calls = append(p.calls, fmt.Sprint(capacity))
	if p.onUpdate != nil {
		p.onUpdate()
	}
}

func (p *peer) Disconnect() {
	p.mu.Lock()
	if p.left || p.disconnected > 0 || p.capacity != 0 {
		p.w.t.Errorf("Disconnect after %v, left: %v", p.calls, p.left)
	}
	p.disconnected++
	p.calls = append(p.calls, "disconnect")
	p.mu.Unlock()
	if p.onDisconnect != nil {
		p.onDisconnect()
	}
}

// pay adds tokens to a client, connected or not.
func (w *world) pay(i int, tokens int64) {
	w.BalanceOperation(nodeID(i), address(i), func(b AtomicBalanceOperator) {
		_, _, err := b.AddBalance(tokens)
		require.NoError(w.t, err)
	})
}

func (w *world) owe(i int, debt uint64) {
	w.BalanceOperation(nodeID(i), address(i), func(b AtomicBalanceOperator) {
		pos, _ := b.GetBalance()
		require.NoError(w.t, b.SetBalance(pos, debt))
	})
}

func (w *world) balanceOf(i int) (pos, neg uint64) {
	w.BalanceOperation(nodeID(i), address(i), func(b AtomicBalanceOperator) { pos, neg = b.GetBalance() })
	return pos, neg
}

// ask makes a capacity query by the encoded message, as it comes by UDP.
func (w *world) ask(i int, bias uint64, amounts ...int64) []uint64 {
	q := udpquery.CapacityQueryReq{Bias: bias, AddTokens: make([]udpquery.IntOrInf, len(amounts))}
	for j, a := range amounts {
		q.AddTokens[j].SetInt64(a)
	}
	data, err := q.Encode()
	require.NoError(w.t, err)
	reply := w.Handle(nodeID(i), address(i), udpquery.CapacityQueryName, data)
	if reply == nil {
		return nil
	}
	var results udpquery.CapacityQueryReply
	require.NoError(w.t, results.Decode(reply))
	return results
}

// set asks for a capacity.
func (p *peer) set(capacity uint64) (uint64, error) {
	return p.w.SetCapacity(p.node, capacity, 0, true)
}

// requireConsistent checks what has to hold between calls.
func (w *world) requireConsistent() {
	count, capacity := w.Active()
	maxCount, maxCap := w.Limits()
	require.LessOrEqual(w.t, count, maxCount)
	require.LessOrEqual(w.t, capacity, maxCap)
	var told, active uint64
	for _, p := range w.peers {
		if told += p.capacity; p.capacity > 0 {
			active++
			require.GreaterOrEqual(w.t, p.capacity, w.cfg.MinCapacity)
		}
		if pos, _ := p.balance.GetBalance(); pos == 0 {
			require.LessOrEqual(w.t, p.capacity, w.cfg.MinCapacity)
		}
	}
	require.Equal(w.t, capacity, told)
	require.Equal(w.t, count, active)
	require.Equal(w.t, len(w.peers)-int(active), w.Inactive())
}

const hour = int64(time.Hour)
