package main

import (
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/lespay/server"
	"github.com/lespool/lespool/udpquery"
)

// grantedCapacity is what a client is served with.
const grantedCapacity = 50_000

// newClientPool makes the pool of a server with so many slots. Its clients are free
// ones, and all alike: who is in stays until it owes more than who waits outside,
// by what three minutes cost.
func newClientPool(slots int) (*server.ClientPool, error) {
	pool, err := server.New(server.Config{
		Store:         memorydb.New(),
		MinCapacity:   grantedCapacity,
		MaxClients:    uint64(slots),
		MaxCapacity:   uint64(slots) * grantedCapacity,
		ConnectedBias: 3 * time.Minute,
	})
	if err == nil {
		pool.Start()
	}
	return pool, err
}

// visitor is a connected client, as the pool sees it.
type visitor struct {
	node     *enode.Node
	hangUp   func() // ends the connection; does not wait for its end
	capacity atomic.Uint64
}

// Node implements server.Peer.
func (v *visitor) Node() *enode.Node { return v.node }

// FreeClientId implements server.Peer: in this network everybody is local.
func (v *visitor) FreeClientId() string { return v.node.ID().String() }

// InactiveAllowance implements server.Peer.
func (v *visitor) InactiveAllowance() time.Duration { return 0 }

// UpdateCapacity implements server.Peer.
func (v *visitor) UpdateCapacity(capacity uint64, _ bool) { v.capacity.Store(capacity) }

// Disconnect implements server.Peer.
func (v *visitor) Disconnect() { v.hangUp() }

// liarService answers capacity queries by yes, whatever is free.
type liarService struct{}

// Handle implements udpquery.Service.
func (liarService) Handle(_ enode.ID, _, name string, data []byte) []byte {
	var query udpquery.CapacityQueryReq
	if name != udpquery.CapacityQueryName || query.Decode(data) != nil || len(query.AddTokens) == 0 {
		return nil
	}
	reply := make(udpquery.CapacityQueryReply, len(query.AddTokens))
	for i := range reply {
		reply[i] = grantedCapacity
	}
	return reply.Encode()
}
