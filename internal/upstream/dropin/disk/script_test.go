package disk

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// What the databases hold: a client that ran with one request list, and a month
// later with another.

var (
	listA = []lespay.RequestInfo{
		{Name: "headers", InitAmount: 10, InitValue: 10},
		{Name: "bodies", InitAmount: 3, InitValue: 20},
		{Name: "proofs", InitAmount: 1, InitValue: 50},
	}
	listB = []lespay.RequestInfo{ // another order, one is new, one is gone
		{Name: "proofs", InitAmount: 1, InitValue: 50},
		{Name: "txs", InitAmount: 2, InitValue: 5},
		{Name: "headers", InitAmount: 10, InitValue: 10},
	}
	costs = []uint64{100, 200, 700}
)

// The servers. The third fails in the second run, the fifth always. The others
// are good, the first at a local address.
const (
	failing = 2 // index
	never   = 4
)

var servers = []*enode.Node{
	testutil.Node(1, 1, "127.0.0.1"), testutil.PublicNode(2), testutil.PublicNode(3),
	testutil.PublicNode(4), testutil.PublicNode(5),
}

// banned is a node that nobody offers.
var banned = testutil.PublicNode(6)

// moved is the first server as others see it.
var moved = testutil.Node(1, 2, "11.12.13.14")

func indexOf(n *enode.Node) int {
	for i, s := range servers {
		if s.ID() == n.ID() {
			return i
		}
	}
	return -1
}

// serveForHours has the servers serve, the ones more and faster than the others.
func serveForHours(t *testing.T, servers []*enode.Node, register func(*enode.Node) tracker) {
	var trackers []tracker
	for _, n := range servers {
		nv := register(n)
		nv.UpdateCosts(costs)
		trackers = append(trackers, nv)
	}
	for range 30 {
		for i, nv := range trackers {
			serve(nv, i)
		}
		time.Sleep(10 * time.Minute)
	}
}

// serve has the i-th server answer some requests.
func serve(nv tracker, i int) {
	for kind := range uint32(3) {
		nv.served(kind, uint32(20+10*i)/(kind+1), time.Duration(i+1)*80*time.Millisecond)
	}
}

// fill has a pool fill the database. It ends at a time when one wait is running.
func fill(t *testing.T, db ethdb.KeyValueStore, open opener, trackerServes func(*testing.T, ethdb.KeyValueStore, []*enode.Node)) {
	trackerServes(t, db, servers[:never])
	p := open(t, db, listA, servers...)
	for met := 0; met < never; {
		n := p.next(time.Hour)
		if n == nil {
			t.Fatal("no candidate")
		}
		if i := indexOf(n); i != never {
			met++
			session(t, p, n, i)
			p.unregister(n)
		}
	}
	p.close()
	time.Sleep(30 * 24 * time.Hour)

	p = open(t, db, listB, servers[never])
	var connected []*enode.Node
	for end := time.Now().Add(2 * time.Hour); time.Now().Before(end); {
		n := p.next(time.Until(end))
		if n == nil || indexOf(n) == failing || indexOf(n) == never {
			continue
		}
		session(t, p, n, indexOf(n))
		connected = append(connected, n)
	}
	if len(connected) != 3 {
		t.Fatal("known servers that came:", len(connected))
	}
	for _, n := range connected {
		p.unregister(n)
	}
	p.close()
}

func session(t *testing.T, p *pool, n *enode.Node, i int) {
	nv, err := p.register(n)
	if err != nil {
		t.Fatal(err)
	}
	nv.UpdateCosts(costs)
	serve(nv, i)
}
