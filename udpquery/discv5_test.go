//go:build !geth135

package udpquery

import (
	"bytes"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/discover"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/lespool/lespool/internal/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var (
	_ Transport                   = (*discover.UDPv5)(nil)
	_ RecordRequester             = (*discover.UDPv5)(nil)
	_ discover.TalkRequestHandler = (*Server)(nil).ServeNode
)

// Two real nodes on loopback: a light client asks a server that has a slot, is
// full, does not answer, has gone, or never took queries.
func TestOverDiscv5(t *testing.T) {
	requireNoLeak(t)
	var capacity atomic.Uint64
	capacity.Store(100)
	answers := func(response func() []byte) *Server {
		s := NewServer(0)
		require.NoError(t, s.Register(&scripted{handle: func(call) []byte { return response() }}, "les", ""))
		return s
	}
	s := answers(func() []byte { return CapacityQueryReply{capacity.Load()}.Encode() })
	node := listen(t, 1, LesEntry{Version: Version})
	node.RegisterTalkHandler(ProtocolID, s.ServeNode)
	client := listen(t, 2)
	c := newTestClient(t, client, ClientConfig{Fresh: -1})

	require.Equal(t, Yes, c.Ask(t.Context(), node.Self()))
	capacity.Store(0)
	require.Equal(t, No, c.Ask(t.Context(), node.Self()))
	node.LocalNode().Delete(LesEntry{})
	require.Equal(t, Unasked, c.Ask(t.Context(), node.Self()))
	node.LocalNode().Set(LesEntry{Version: Version})

	s.Stop()
	require.Equal(t, Silent, c.Ask(t.Context(), node.Self()), "a stopped server gives an empty message")
	start := time.Now()
	node.Close()
	require.Equal(t, Silent, c.Ask(t.Context(), node.Self()))
	require.Less(t, time.Since(start), 3*time.Second)
}

// A node known by its URL is asked for its record, then for a slot.
func TestRecordOverDiscv5(t *testing.T) {
	s := NewServer(0)
	defer s.Stop()
	require.NoError(t, s.Register(&emptyPool{}, "les", ""))
	node, plain, client := listen(t, 3, LesEntry{Version: Version}), listen(t, 4), listen(t, 5)
	node.RegisterTalkHandler(ProtocolID, s.ServeNode)

	var records []*enode.Node
	c := newTestClient(t, client, ClientConfig{OnRecord: func(n *enode.Node) { records = append(records, n) }})
	require.Equal(t, Yes, c.Ask(t.Context(), urlOnly(node.Self())))
	require.Equal(t, Unasked, c.Ask(t.Context(), urlOnly(plain.Self())))
	require.Len(t, records, 2)
	require.Equal(t, node.Self().String(), records[0].String())
	require.Equal(t, plain.Self().String(), records[1].String())
}

// Sixteen replies of 200 bytes do not fit into a packet. Those that do arrive.
func TestFullPacketOverDiscv5(t *testing.T) {
	s := NewServer(0)
	defer s.Stop()
	large := bytes.Repeat([]byte{7}, 200)
	require.NoError(t, s.Register(&scripted{handle: func(call) []byte { return large }}, "les", ""))
	node, client := listen(t, 6, LesEntry{Version: Version}), listen(t, 7)
	node.RegisterTalkHandler(ProtocolID, s.ServeNode)
	c := newTestClient(t, client, ClientConfig{})

	require.NotNil(t, c.Send(node.Self(), one("les")), "first contact")
	batch := make(Requests, MaxRequestLength)
	for i := range batch {
		batch[i].Service = "les"
	}
	replies := c.Send(node.Self(), batch)
	require.Len(t, replies, MaxRequestLength)
	for i, reply := range replies {
		require.Equal(t, i < 5, bytes.Equal(reply, large))
	}
}

// Close ends a question at once, though discv5 waits on.
func TestCloseOverDiscv5(t *testing.T) {
	requireNoLeak(t)
	gone, client := listen(t, 8, LesEntry{Version: Version}), listen(t, 9)
	gone.Close()
	c := newTestClient(t, client, ClientConfig{})
	answer := make(chan Answer)
	go func() { answer <- c.Ask(t.Context(), gone.Self()) }()
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.mu.flights) == 1
	}, time.Second, time.Millisecond)
	start := time.Now()
	c.Close()
	require.Equal(t, Silent, <-answer)
	require.Less(t, time.Since(start), 300*time.Millisecond)
}

// BenchmarkDiscv5 compares a whole query with a bare TALKREQ of the same size
// that is answered at once, in turns over the same two nodes after the handshake.
func BenchmarkDiscv5(b *testing.B) {
	s := NewServer(0)
	defer s.Stop()
	_ = s.Register(&emptyPool{}, "les", "")
	node, client := listen(b, 10, LesEntry{Version: Version}), listen(b, 11)
	node.RegisterTalkHandler(ProtocolID, s.ServeNode)
	node.RegisterTalkHandler("echo", func(_ *enode.Node, _ *net.UDPAddr, req []byte) []byte { return req })
	c, err := NewClient(client, ClientConfig{Fresh: -1})
	require.NoError(b, err)
	defer c.Close()
	message, n := preNegotiation(b), node.Self()
	require.Equal(b, Yes, c.Ask(b.Context(), n))

	var echoes, queries []time.Duration
	for b.Loop() {
		start := time.Now()
		if _, err := client.TalkRequest(n, "echo", message); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if c.Query(n) != 1 {
			b.Fatal("no answer")
		}
		echoes, queries = append(echoes, middle.Sub(start)), append(queries, time.Since(middle))
	}
	slices.Sort(echoes)
	slices.Sort(queries)
	echo, query := echoes[len(echoes)/2], queries[len(queries)/2]
	b.ReportMetric(float64(echo), "echo-ns")
	b.ReportMetric(float64(query), "query-ns")
	b.ReportMetric(float64(query)/float64(echo), "ratio")
}

// ---------------------------------------------------------------------------

// listen starts a node on a free port of loopback.
func listen(t testing.TB, key uint64, entries ...enr.Entry) *discover.UDPv5 {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	db, err := enode.OpenDB("")
	require.NoError(t, err)
	local := enode.NewLocalNode(db, testutil.Key(key))
	local.SetStaticIP(net.IPv4(127, 0, 0, 1))
	local.SetFallbackUDP(conn.LocalAddr().(*net.UDPAddr).Port)
	for _, e := range entries {
		local.Set(e)
	}
	node, err := discover.ListenV5(conn, local, discover.Config{PrivateKey: testutil.Key(key)})
	require.NoError(t, err)
	t.Cleanup(func() {
		node.Close()
		db.Close()
	})
	return node
}

// urlOnly is what an enode URL says about the node.
func urlOnly(n *enode.Node) *enode.Node {
	return enode.NewV4(n.Pubkey(), n.IP(), n.UDP(), n.UDP())
}

// requireNoLeak checks, after everything that the test registers later is closed,
// that no goroutine is left but one that the database of a node keeps for a
// second.
func requireNoLeak(t *testing.T) {
	earlier := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, earlier, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
	})
}
