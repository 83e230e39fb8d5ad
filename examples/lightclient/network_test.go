package main

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/dnsdisc"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/udpquery"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		code = checkLeaks()
	}
	os.Exit(code)
}

// checkLeaks gives the node databases the second that they take to end.
func checkLeaks() int {
	deadline := time.Now().Add(5 * time.Second)
	err := goleak.Find()
	for err != nil && time.Now().Before(deadline) {
		err = goleak.Find()
	}
	if err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

func TestDiscoveryFindsAllServers(t *testing.T) {
	n := testNetwork(t, networkConfig{Servers: 8, Full: 0.5})
	client := startClient(t, n, nil)
	missing := make(map[enode.ID]bool)
	for _, s := range n.servers {
		missing[s.p2p.Self().ID()] = true
	}
	it := client.DiscoveryV5().RandomNodes()
	defer time.AfterFunc(10*time.Second, it.Close).Stop()
	start := time.Now()
	for len(missing) > 0 && it.Next() {
		delete(missing, it.Node().ID())
	}
	require.Empty(t, missing, "not found within 10 s")
	t.Logf("found all in %v", time.Since(start))
	it.Close()
}

func TestTreeListsItsShareAndTheGone(t *testing.T) {
	n := testNetwork(t, networkConfig{Servers: 8, Full: 0.5})
	client := dnsdisc.NewClient(dnsdisc.Config{Resolver: n.Resolver(), RateLimit: 1000})
	tree, err := client.SyncTree(n.TreeURL())
	require.NoError(t, err)
	var want, got []string
	for _, p := range n.Plans() {
		if p.InDNS {
			want = append(want, crypto.PubkeyToAddress(p.Key.PublicKey).Hex()+" "+p.addr())
		}
	}
	for _, node := range tree.Nodes() {
		endpoint := net.TCPAddr{IP: node.IP(), Port: node.TCP()}
		require.Equal(t, node.TCP(), node.UDP())
		got = append(got, crypto.PubkeyToAddress(*node.Pubkey()).Hex()+" "+endpoint.String())
	}
	require.ElementsMatch(t, want, got)
	require.NotEmpty(t, got)
	require.Less(t, len(got), len(n.Plans()))
}

// Every kind of server answers a capacity query as it is planned to.
func TestCapacityAnswers(t *testing.T) {
	n := testNetwork(t, networkConfig{Servers: 20, Full: 0.5})
	client := startClient(t, n, nil)
	kinds := make(map[string]bool)
	for _, p := range n.Plans() {
		node := n.record(t, p)
		require.Equal(t, p.UDP != noEntry, udpquery.TakesQueries(node))
		kind := p.UDP.String()
		if p.UDP == answers {
			kind = p.Admission.String()
		}
		if kinds[kind] {
			continue // one of each is enough, silence takes its time
		}
		kinds[kind] = true
		if p.UDP == noEntry {
			continue
		}
		replies, err := askCapacity(client, node)
		if p.UDP == silent {
			require.Error(t, err, kind)
			continue
		}
		require.NoError(t, err, kind)
		if p.UDP == mute {
			require.Empty(t, replies)
			continue
		}
		var capacity udpquery.CapacityQueryReply
		require.NoError(t, capacity.Decode(replies[0]))
		want := udpquery.CapacityQueryReply{grantedCapacity}
		if p.Admission == full {
			want[0] = 0
		}
		require.Equal(t, want, capacity, kind)
	}
	for _, kind := range []string{"free", "full", "liar", "mute", "silent", "no entry"} {
		require.True(t, kinds[kind], kind)
	}
}

func TestBadCapacityQueries(t *testing.T) {
	c := liarService{}
	good, err := (&udpquery.CapacityQueryReq{AddTokens: make([]udpquery.IntOrInf, 2)}).Encode()
	require.NoError(t, err)
	none, err := (&udpquery.CapacityQueryReq{}).Encode()
	require.NoError(t, err)
	require.NotEmpty(t, c.Handle(enode.ID{1}, "", udpquery.CapacityQueryName, good))
	require.Empty(t, c.Handle(enode.ID{1}, "", udpquery.CapacityQueryName, none))
	require.Empty(t, c.Handle(enode.ID{1}, "", udpquery.CapacityQueryName, good[1:]))
	require.Empty(t, c.Handle(enode.ID{1}, "", "other", good))
}

// By TCP, free servers serve, full ones and liars refuse, the gone aren't there.
func TestConnecting(t *testing.T) {
	n := testNetwork(t, networkConfig{Servers: 8, Full: 0.5})
	type outcome struct {
		id  enode.ID
		err error
	}
	outcomes := make(chan outcome, len(n.Plans()))
	protocol := p2p.Protocol{
		Name: protocolName, Version: protocolVersion, Length: protocolLength,
		Run: func(peer *p2p.Peer, rw p2p.MsgReadWriter) error {
			s, err := handshake(rw)
			if err == nil {
				served := make(chan error, 1)
				go func() { served <- s.serve() }()
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if _, err = s.request(ctx, 0, 1); err == nil && !s.isOf(n, peer.ID()) {
					err = errors.New("costs of another server")
				}
			}
			outcomes <- outcome{peer.ID(), err}
			return err
		},
	}
	client := startClient(t, n, &protocol)
	want := make(map[enode.ID]admission)
	for _, p := range n.Plans() {
		if p.Admission != gone && p.Reliability > 0.9 {
			node := n.record(t, p)
			want[node.ID()] = p.Admission
			client.AddPeer(node)
		}
	}
	for len(want) > 0 {
		select {
		case o := <-outcomes:
			switch kind, ok := want[o.id]; {
			case !ok: // found by discovery: an unreliable one
			case kind == free:
				require.NoError(t, o.err)
			default:
				require.ErrorIs(t, o.err, errRefused)
			}
			delete(want, o.id)
		case <-time.After(20 * time.Second):
			t.Fatalf("no connection with %d servers", len(want))
		}
	}
}

func TestSecondRunMeetsTheSameServers(t *testing.T) {
	cfg := networkConfig{Servers: 6, Full: 0.5}
	first := testNetwork(t, cfg)
	before, url := first.identities(), first.TreeURL()
	first.Close()
	second := testNetwork(t, cfg)
	require.Equal(t, before, second.identities())
	require.NotEmpty(t, url)
	require.Len(t, second.Bootnodes(), bootnodes)
	require.Equal(t, requestTypes, second.Requests())
}

func TestTakenAddressIsNamed(t *testing.T) {
	cfg := networkConfig{Servers: 3}
	n := testNetwork(t, cfg)
	cfg.Seed = testSeed(t)
	_, err := startNetwork(t.Context(), cfg)
	require.ErrorContains(t, err, n.Plans()[0].addr())
	require.ErrorContains(t, err, "already")
	n.Close()
	pc, err := net.ListenPacket("udp4", n.Plans()[2].addr())
	require.NoError(t, err)
	defer pc.Close()
	_, err = startNetwork(t.Context(), cfg)
	require.ErrorContains(t, err, "server 2")
}

func TestStartCanBeCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := startNetwork(ctx, networkConfig{Servers: 3, Seed: testSeed(t)})
	require.ErrorIs(t, err, context.Canceled)
}

func TestPortsOfOneAddress(t *testing.T) {
	seed := testSeed(t)
	p := plan(networkConfig{Servers: 2, Seed: seed}, ownPorts(seed))[1]
	require.NoError(t, probe(p))
	s, err := startServer(p, seed)
	require.NoError(t, err)
	defer s.close()
	require.Equal(t, p.Port, s.p2p.Self().UDP())
	require.Equal(t, p.Port, s.p2p.Self().TCP())
	require.True(t, s.p2p.Self().IP().Equal(p.IP))
	require.Error(t, probe(p))
}

// ---------------------------------------------------------------------------

// testSeed differs between the tests of a run and between runs at the same time.
func testSeed(t *testing.T) uint64 {
	return derive(uint64(os.Getpid()), t.Name(), 0).Uint64()
}

func testNetwork(t *testing.T, cfg networkConfig) *network {
	t.Helper()
	cfg.Seed = testSeed(t)
	n, err := startNetwork(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { n.Close(); n.Close() })
	return n
}

func startClient(t *testing.T, n *network, protocol *p2p.Protocol) *p2p.Server {
	t.Helper()
	key, err := crypto.GenerateKey()
	require.NoError(t, err)
	client := &p2p.Server{Config: p2p.Config{
		PrivateKey: key, MaxPeers: 100, DialRatio: 2, Name: "client",
		ListenAddr: "127.0.0.1:0", DiscoveryV5: true, BootstrapNodesV5: n.Bootnodes(),
		Logger: log.NewLogger(log.DiscardHandler()),
	}}
	if protocol != nil {
		client.Protocols = []p2p.Protocol{*protocol}
	}
	require.NoError(t, client.Start())
	t.Cleanup(client.Stop)
	return client
}

// record returns a server's node record, that of a gone one too.
func (n *network) record(t *testing.T, p serverPlan) *enode.Node {
	t.Helper()
	if p.Admission != gone {
		return n.servers[p.Index].p2p.Self()
	}
	node, err := recordOf(p)
	require.NoError(t, err)
	return node
}

// askCapacity asks as light clients do; a first contact is tried twice, since
// one in some hundred gets lost.
func askCapacity(client *p2p.Server, node *enode.Node) (replies udpquery.Replies, err error) {
	var batch udpquery.Requests
	query := &udpquery.CapacityQueryReq{Bias: 180, AddTokens: make([]udpquery.IntOrInf, 1)}
	if _, err := batch.Add("les", udpquery.CapacityQueryName, query); err != nil {
		return nil, err
	}
	var msg []byte
	for range 2 {
		if msg, err = client.DiscoveryV5().TalkRequest(node, "vfx", batch.Encode()); err == nil {
			break
		}
	}
	if err != nil || len(msg) == 0 {
		return nil, err
	}
	err = replies.Decode(msg)
	return replies, err
}

// isOf tells whether the session is with the server of this id, by its prices.
func (s *session) isOf(n *network, id enode.ID) bool {
	for _, server := range n.servers {
		if server.p2p.Self().ID() == id {
			return slices.Equal(server.costs(), s.server.Costs)
		}
	}
	return false
}

// identities returns ids, endpoints and entries of all servers' records.
func (n *network) identities() (texts []string) {
	for _, s := range n.servers {
		node := s.p2p.Self()
		var les udpquery.LesEntry
		hasLes := "les"
		if enr.IsNotFound(node.Load(&les)) {
			hasLes = ""
		}
		texts = append(texts, node.URLv4()+hasLes)
	}
	return texts
}
