package main

import (
	"net"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/lespay/server"
	"github.com/lespool/lespool/udpquery"
)

// The protocol of the example: the server says what capacity the client has, at the
// beginning and at every change.
const (
	protocolName    = "capacitydemo"
	protocolVersion = 1
	capacityMsg     = 0 // a number
)

const (
	minCapacity   = 100
	totalCapacity = 1000
	slots         = 3
)

// lightServer is a server with a pool of clients.
type lightServer struct {
	p2p  *p2p.Server
	udp  *udpquery.Server
	pool *server.ClientPool
}

func startServer() (*lightServer, error) {
	pool, err := server.New(server.Config{
		Store:       memorydb.New(),
		MinCapacity: minCapacity, MaxClients: slots, MaxCapacity: totalCapacity,
		ConnectedBias: 3 * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	s := &lightServer{pool: pool, udp: udpquery.NewServer(10 * time.Millisecond)}
	pool.Start()
	if err := s.udp.Register(pool, udpquery.DefaultService, "light client service"); err != nil {
		pool.Stop()
		return nil, err
	}
	s.p2p, err = startNode("server", p2p.Protocol{
		Name: protocolName, Version: protocolVersion, Length: 1, Run: s.run,
		Attributes: []enr.Entry{udpquery.LesEntry{Version: udpquery.Version}},
	})
	if err != nil {
		s.udp.Stop()
		pool.Stop()
		return nil, err
	}
	s.p2p.DiscoveryV5().RegisterTalkHandler(udpquery.ProtocolID, s.udp.ServeNode)
	return s, nil
}

// close ends the server, the pool first, so that clients are told.
func (s *lightServer) close() {
	s.pool.Stop()
	s.udp.Stop()
	s.p2p.Stop()
}

// sell gives a client tokens, which it has paid for in whatever way.
func (s *lightServer) sell(id enode.ID, tokens int64) (err error) {
	s.pool.BalanceOperation(id, "", func(b server.AtomicBalanceOperator) { _, _, err = b.AddBalance(tokens) })
	return err
}

// run serves a client.
func (s *lightServer) run(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
	v := &visitor{peer: peer, changed: make(chan struct{}, 1)}
	if s.pool.Register(v) == nil {
		return p2p.DiscTooManyPeers
	}
	defer s.pool.Unregister(v)
	ended := make(chan error, 1)
	go func() {
		_, err := rw.ReadMsg() // clients say nothing
		ended <- err
	}()
	for {
		select {
		case <-v.changed:
			if err := p2p.Send(rw, capacityMsg, v.current()); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}

// visitor is a connected client, as the pool sees it. It hands changes of capacity
// on, since callbacks must not wait for the network.
type visitor struct {
	peer    *p2p.Peer
	changed chan struct{}

	mu struct {
		sync.Mutex
		capacity uint64
	}
}

// Node implements server.Peer.
func (v *visitor) Node() *enode.Node { return v.peer.Node() }

// FreeClientId implements server.Peer: an IP address, or the id of a local node.
func (v *visitor) FreeClientId() string {
	if addr, ok := v.peer.RemoteAddr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		return addr.IP.String()
	}
	return v.peer.ID().String()
}

// InactiveAllowance implements server.Peer: who has no tokens has no time.
func (v *visitor) InactiveAllowance() time.Duration { return 0 }

// UpdateCapacity implements server.Peer.
func (v *visitor) UpdateCapacity(capacity uint64, _ bool) {
	v.mu.Lock()
	v.mu.capacity = capacity
	v.mu.Unlock()
	select {
	case v.changed <- struct{}{}:
	default: // it is under way
	}
}

// Disconnect implements server.Peer.
func (v *visitor) Disconnect() { v.peer.Disconnect(p2p.DiscTooManyPeers) }

func (v *visitor) current() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.capacity
}

// startNode starts a p2p server with discovery on a free port of loopback.
func startNode(name string, protocol p2p.Protocol) (*p2p.Server, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	srv := &p2p.Server{Config: p2p.Config{
		PrivateKey: key, Name: name, ListenAddr: "127.0.0.1:0", MaxPeers: 50,
		DiscoveryV5: true, Protocols: []p2p.Protocol{protocol},
		Logger: log.NewLogger(log.DiscardHandler()),
	}}
	if err := srv.Start(); err != nil {
		srv.Stop()
		return nil, err
	}
	return srv, nil
}
