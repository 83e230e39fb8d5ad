package serverpool_test

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/nodestate"
	"github.com/lespool/lespool/serverpool"
)

// A pool that is given candidates by a list. A light client gives the iterator
// to p2p as DialCandidates instead of calling Next itself.
func ExampleNew() {
	pool, err := serverpool.New(serverpool.Config{
		Requests: []serverpool.RequestInfo{{Name: "GetProof", InitAmount: 1, InitValue: 1}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Stop()
	pool.AddSource(enode.IterNodes([]*enode.Node{testutil.PublicNode(1)}))
	pool.Start()

	it := pool.Iterator()
	it.Next()
	server := it.Node()
	fmt.Println("dial", server.IP())

	tracker, _ := pool.RegisterNode(server)
	tracker.Served([]serverpool.ServedRequest{{ReqType: 0, Amount: 20}}, 30*time.Millisecond)
	pool.UnregisterNode(server)
	fmt.Println("known servers:", pool.Status().Known)
	// Output:
	// dial 11.0.1.7
	// known servers: 1
}

// Two flags of somebody's machine: nodes that are wanted, and among these the
// ones in use.
var (
	setup  = &nodestate.Setup{Name: "example", Version: 1}
	wanted = setup.NewFlag("wanted")
	inUse  = setup.NewFlag("inUse")
	worth  = nodestate.NewField[uint64](setup, "worth")
)

func ExampleNewFillSet() {
	ns := nodestate.New(setup, nodestate.Config{})
	found := make(chan *enode.Node)
	ns.SubscribeState(wanted, func(_ nodestate.Op, n *enode.Node, _, _ nodestate.Flags) { found <- n })
	nodes := []*enode.Node{testutil.PublicNode(1), testutil.PublicNode(2), testutil.PublicNode(3)}
	fill := serverpool.NewFillSet(ns, enode.IterNodes(nodes), wanted)
	defer fill.Close()
	ns.Start()

	fill.SetTarget(2)
	fmt.Println((<-found).IP())
	fmt.Println((<-found).IP())
	// Output:
	// 11.0.1.7
	// 11.0.2.7
}

func ExampleNewQueueIterator() {
	ns := nodestate.New(setup, nodestate.Config{})
	it := serverpool.NewQueueIterator(ns, wanted, inUse, true, nil)
	defer it.Close()
	ns.Start()
	defer ns.Stop()

	for i := range uint64(3) {
		ns.SetState(testutil.PublicNode(i), wanted, nodestate.Flags{}, 0)
	}
	ns.SetState(testutil.PublicNode(1), inUse, nodestate.Flags{}, 0)
	for range 2 {
		it.Next()
		fmt.Println(it.Node().IP())
	}
	// Output:
	// 11.0.0.7
	// 11.0.2.7
}

func ExampleNewWrsIterator() {
	ns := nodestate.New(setup, nodestate.Config{})
	it := serverpool.NewWrsIterator(ns, wanted, inUse, worth)
	defer it.Close()
	ns.Start()
	defer ns.Stop()

	light, heavy := testutil.PublicNode(1), testutil.PublicNode(2)
	for n, w := range map[*enode.Node]uint64{light: 1, heavy: 1e12} {
		ns.SetState(n, wanted, nodestate.Flags{}, 0)
		worth.Set(ns, n, w)
	}
	it.Next()
	fmt.Println(it.Node().IP())
	ns.SetState(heavy, inUse, nodestate.Flags{}, 0) // takes it out
	it.Next()
	fmt.Println(it.Node().IP())
	// Output:
	// 11.0.2.7
	// 11.0.1.7
}
