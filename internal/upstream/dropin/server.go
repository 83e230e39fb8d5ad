package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rpc"
)

// What the server's pool is set to.
const (
	minCapacity   = 100
	totalCapacity = 1000
	connectedBias = 3 * time.Minute
)

// lightServer serves as many clients as its pool lets in.
type lightServer struct {
	pool *clientPool
	udp  *udpServer
	p2p  *p2p.Server
	rpc  *rpc.Server
	mu   struct {
		sync.Mutex
		latest *clientPeer // that connected
	}
}

// newLightServer makes and starts a server with so many slots.
func newLightServer(db ethdb.KeyValueStore, slots uint64) (*lightServer, error) {
	s := new(lightServer)
	s.pool = newClientPool(db, minCapacity, connectedBias, mclock.System{}, func() bool { return true })
	s.pool.Start()
	s.pool.SetLimits(slots, totalCapacity*min(slots, 1))
	s.pool.SetDefaultFactors(priceFactors{RequestFactor: 1}, priceFactors{RequestFactor: 1})
	s.udp = newServer(0)
	s.udp.Register(s.pool, "les", "Light client service")
	if err := s.startNetwork(); err != nil {
		return nil, err
	}
	s.rpc = rpc.NewServer()
	return s, s.rpc.RegisterName("les", &serverAPI{s.pool})
}

func (s *lightServer) startNetwork() error {
	key, err := crypto.GenerateKey()
	if err != nil {
		return err
	}
	s.p2p = &p2p.Server{Config: networkConfig("server", p2p.Protocol{
		Name: protocolName, Version: protocolVersion, Length: protocolLength,
		Run:        s.handle,
		Attributes: []enr.Entry{lesEntry{Version: 1}},
	})}
	s.p2p.PrivateKey = key
	if err := s.p2p.Start(); err != nil {
		return err
	}
	s.p2p.DiscV5.RegisterTalkHandler("vfx", s.udp.ServeEncoded)
	return nil
}

// stop ends the server.
func (s *lightServer) stop() {
	s.udp.Stop()
	s.p2p.Stop()
	s.pool.Stop()
	s.rpc.Stop()
}

// handle is the server's side of a connection.
func (s *lightServer) handle(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
	client := &clientPeer{peer: peer}
	balance := s.pool.Register(client)
	if balance == nil {
		return p2p.DiscAlreadyConnected
	}
	defer s.pool.Unregister(client)
	s.mu.Lock()
	s.mu.latest = client
	s.mu.Unlock()
	if err := p2p.Send(rw, statusMsg, &status{client.capacity.Load(), requestCosts}); err != nil {
		return err
	}
	for {
		if err := answer(rw, balance); err != nil {
			return err
		}
	}
}

// answer serves one request and charges for it.
func answer(rw p2p.MsgReadWriter, balance connectedBalance) error {
	var r request
	if err := receive(rw, requestMsg, &r); err != nil {
		return err
	}
	balance.RequestServed(requestCosts[r.Type] * uint64(r.Amount))
	return p2p.Send(rw, replyMsg, &reply{r.ID})
}

func (s *lightServer) latest() *clientPeer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.latest
}

// clientPeer is a connected client as the pool sees it.
type clientPeer struct {
	peer      *p2p.Peer
	capacity  atomic.Uint64
	requested atomic.Bool // the last change of the capacity was
}

func (c *clientPeer) Node() *enode.Node                { return c.peer.Node() }
func (c *clientPeer) FreeClientId() string             { return c.peer.Node().IP().String() }
func (c *clientPeer) InactiveAllowance() time.Duration { return 0 }
func (c *clientPeer) Disconnect()                      { c.peer.Disconnect(p2p.DiscRequested) }

func (c *clientPeer) UpdateCapacity(capacity uint64, requested bool) {
	c.capacity.Store(capacity)
	c.requested.Store(requested)
}

// serverAPI are the calls by which the owner of a server looks after its clients.
type serverAPI struct{ pool *clientPool }

// AddBalance gives a client tokens and returns how many it had and has.
func (api *serverAPI) AddBalance(id enode.ID, amount int64) (balance [2]uint64, err error) {
	api.pool.BalanceOperation(id, "", func(b atomicBalanceOperator) {
		balance[0], balance[1], err = b.AddBalance(amount)
	})
	return balance, err
}

// SetBalance sets the tokens of a client.
func (api *serverAPI) SetBalance(id enode.ID, tokens uint64) (err error) {
	api.pool.BalanceOperation(id, "", func(b atomicBalanceOperator) { err = b.SetBalance(tokens, 0) })
	return err
}

// Balance returns tokens and debt of a client.
func (api *serverAPI) Balance(id enode.ID, address string) (balance [2]uint64) {
	api.pool.BalanceOperation(id, address, func(b atomicBalanceOperator) { balance[0], balance[1] = b.GetBalance() })
	return balance
}

// Paying lists the clients that have tokens, with ids from start to stop.
func (api *serverAPI) Paying(start, stop enode.ID) []enode.ID {
	return api.pool.GetPosBalanceIDs(start, stop, 100)
}
