package upstream

import (
	"math/big"
	"net"
	"testing"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/les/vflux"
	geth "github.com/ethereum/go-ethereum/les/vflux/server"
	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay/server"
	"github.com/lespool/lespool/udpquery"
)

// The two sides understand each other over real discv5 on loopback. The pools are
// empty, with room for two clients of 100 and a capacity of 1000 in all, and the
// asker has no tokens.

// The predecessor's messages get answers from our server, one for each request.
func TestTheirClientAsksOurServer(t *testing.T) {
	pool := server.NewClientPool(memorydb.New(), 100, 0, mclock.System{}, func() bool { return true })
	pool.Start()
	defer pool.Stop()
	pool.SetLimits(2, 1000)
	srv := server.NewServer(0)
	defer srv.Stop()
	if err := srv.Register(pool, "les", "Ethereum light client service"); err != nil {
		t.Fatal(err)
	}
	node, client := listen(t, 1), listen(t, 2)
	node.LocalNode().Set(udpquery.LesEntry{Version: udpquery.Version})
	node.RegisterTalkHandler(udpquery.ProtocolID, srv.ServeEncoded)

	ask := func() vflux.CapacityQueryReply {
		var requests vflux.Requests
		var tokens vflux.IntOrInf
		tokens.SetInt64(1e15)
		query := vflux.CapacityQueryReq{Bias: 180, AddTokens: []vflux.IntOrInf{{}, tokens}}
		unknown, err := requests.Add("les", "zz", &query)
		if err != nil {
			t.Fatal(err)
		}
		known, err := requests.Add("les", vflux.CapacityQueryName, &query)
		if err != nil {
			t.Fatal(err)
		}
		var replies vflux.Replies
		talk(t, client, node.Self(), &requests, &replies)
		var reply vflux.CapacityQueryReply
		if err := replies.Get(unknown, &reply); err == nil {
			t.Error("a request by an unknown name was answered")
		}
		if err := replies.Get(known, &reply); err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if r := ask(); len(r) != 2 || r[0] != 100 || r[1] != 1000 {
		t.Errorf("empty pool answers %v", r)
	}
	for i := range 2 {
		pool.BalanceOperation(servedClient(i).node.ID(), "", func(b server.AtomicBalanceOperator) {
			_, _, _ = b.AddBalance(1e18)
		})
		pool.Register(servedClient(i))
	}
	if r := ask(); len(r) != 2 || r[0] != 0 || r[1] != 0 {
		t.Errorf("full pool answers %v", r)
	}
}

// Our client gets what their server says.
func TestOurClientAsksTheirServer(t *testing.T) {
	pool := geth.NewClientPool(memorydb.New(), 100, 0, mclock.System{}, func() bool { return true })
	pool.Start()
	defer pool.Stop()
	pool.SetLimits(2, 1000)
	srv := geth.NewServer(0)
	defer srv.Stop()
	srv.Register(pool, "les", "Ethereum light client service")
	node, self := listen(t, 3), listen(t, 4)
	node.LocalNode().Set(udpquery.LesEntry{Version: udpquery.Version})
	node.RegisterTalkHandler(udpquery.ProtocolID, srv.ServeEncoded)
	client, err := udpquery.NewClient(self, udpquery.ClientConfig{Fresh: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := client.Ask(t.Context(), node.Self()); got != udpquery.Yes {
		t.Errorf("empty pool: %v", got)
	}
	for i := range 2 {
		pool.BalanceOperation(servedClient(i).node.ID(), "", func(b geth.AtomicBalanceOperator) {
			_, _, _ = b.AddBalance(1e18)
		})
		pool.Register(servedClient(i))
	}
	if got := client.Ask(t.Context(), node.Self()); got != udpquery.No {
		t.Errorf("full pool: %v", got)
	}
}

// talk sends a batch as the predecessor's client does.
func talk(t *testing.T, from *discover.UDPv5, to *enode.Node, requests *vflux.Requests, replies *vflux.Replies) {
	t.Helper()
	message, err := rlp.EncodeToBytes(requests)
	if err != nil {
		t.Fatal(err)
	}
	response, err := from.TalkRequest(to, "vfx", message)
	for range 3 { // the first contact takes a handshake
		if err == nil {
			break
		}
		response, err = from.TalkRequest(to, "vfx", message)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := rlp.DecodeBytes(response, replies); err != nil {
		t.Fatal(err)
	}
}

// listen starts a node on a free port of loopback.
func listen(t *testing.T, key int64) *discover.UDPv5 {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	private, err := crypto.ToECDSA(big.NewInt(key + 1000).FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	db, err := enode.OpenDB("")
	if err != nil {
		t.Fatal(err)
	}
	local := enode.NewLocalNode(db, private)
	local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	node, err := discover.ListenV5(conn, local, discover.Config{PrivateKey: private})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		node.Close()
		db.Close()
	})
	return node
}
