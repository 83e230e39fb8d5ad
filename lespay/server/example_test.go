package server_test

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/lespay/server"
)

// client is a connection, as the application has it.
type client struct {
	name string
	node *enode.Node
}

func (c client) Node() *enode.Node                { return c.node }
func (c client) FreeClientId() string             { return c.name }
func (c client) InactiveAllowance() time.Duration { return 0 }
func (c client) Disconnect()                      { fmt.Println(c.name, "has to go") }
func (c client) UpdateCapacity(capacity uint64, requested bool) {
	fmt.Println(c.name, "has capacity", capacity)
}

func newClient(name string) client {
	var id enode.ID
	copy(id[:], name)
	return client{name, enode.SignNull(new(enr.Record), id)}
}

// A server with one slot: a free client has it until one comes that has paid.
func Example() {
	clock := new(mclock.Simulated)
	pool, err := server.New(server.Config{
		Store: memorydb.New(), MinCapacity: 100, MaxClients: 1, MaxCapacity: 1000, Clock: clock,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	pool.Start()
	free, payer := newClient("free"), newClient("payer")
	pool.Register(free)
	clock.Run(time.Minute)

	pool.BalanceOperation(payer.node.ID(), "", func(b server.AtomicBalanceOperator) {
		_, tokens, err := b.AddBalance(1e12)
		fmt.Println("payer has", tokens, "tokens", err)
	})
	balance := pool.Register(payer)
	got, err := pool.SetCapacity(payer.node, 500, 0, true)
	fmt.Println("granted", got, err)
	fmt.Println("left", balance.RequestServed(1000))
	pool.Unregister(free)
	pool.Unregister(payer)
	pool.Stop()
	// Output:
	// free has capacity 100
	// payer has 1000000000000 tokens <nil>
	// free has capacity 0
	// payer has capacity 100
	// free has to go
	// payer has capacity 500
	// granted 500 <nil>
	// left 999999999000
}
