package dnstest

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/dnsdisc"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTreeIsReadable(t *testing.T) {
	var nodes []*enode.Node
	for i := range uint64(40) { // more than one branch entry holds
		nodes = append(nodes, testutil.PublicNode(i))
	}
	tree, err := dnsdisc.MakeTree(1, nodes, nil)
	require.NoError(t, err)
	url, err := tree.Sign(testutil.Key(1000), "Nodes.Example.org")
	require.NoError(t, err)
	s := start(t, tree.ToTXT("Nodes.Example.org"))

	client := dnsdisc.NewClient(dnsdisc.Config{Resolver: s.Resolver(), RateLimit: 1000})
	read, err := client.SyncTree(url)
	require.NoError(t, err)
	require.ElementsMatch(t, ids(nodes), ids(read.Nodes()))
}

// What a TXT record can hold: nothing, one string, several strings, so much
// that UDP is too small, backslashes and bytes that are not text.
func TestTextArrivesWhole(t *testing.T) {
	records := map[string]string{"escapes.test": `a\b"c\\d\123`, "bytes.test": "\x00\xff;\t"}
	for _, n := range []int{0, 1, 254, 255, 256, 511, 1100, 1300, 5000, 20000} {
		records[fmt.Sprintf("n%d.test", n)] = strings.Repeat("0123456789abcdef", n/16+1)[:n]
	}
	s := start(t, records)
	for name, want := range records {
		got, err := s.Resolver().LookupTXT(t.Context(), name)
		require.NoError(t, err, name)
		require.Equal(t, []string{want}, got, name)
	}
}

func TestNamesAreCaseInsensitive(t *testing.T) {
	s := start(t, map[string]string{"AbC.Test.": "found"})
	for _, name := range []string{"abc.test", "ABC.TEST", "aBc.tEst."} {
		got, err := s.Resolver().LookupTXT(t.Context(), name)
		require.NoError(t, err, name)
		require.Equal(t, []string{"found"}, got)
	}
}

func TestUnknownName(t *testing.T) {
	s := start(t, map[string]string{"a.test": "x"})
	_, err := s.Resolver().LookupTXT(t.Context(), "b.test")
	var dnsErr *net.DNSError
	require.ErrorAs(t, err, &dnsErr)
	require.True(t, dnsErr.IsNotFound)
}

func TestSetReplacesRecords(t *testing.T) {
	s := start(t, map[string]string{"a.test": "old", "b.test": "old"})
	s.Set(map[string]string{"a.test": "new"})
	got, err := s.Resolver().LookupTXT(t.Context(), "a.test")
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, got)
	_, err = s.Resolver().LookupTXT(t.Context(), "b.test")
	require.Error(t, err)
}

// A long answer by UDP is cut, and says so.
func TestTruncation(t *testing.T) {
	s := start(t, map[string]string{"a.test": strings.Repeat("x", 2000)})
	query := new(dns.Msg).SetQuestion("a.test.", dns.TypeTXT)
	for _, udpSize := range []uint16{0, 1232} {
		if udpSize > 0 {
			query.SetEdns0(udpSize, false)
		}
		reply, err := dns.Exchange(query, s.Addr())
		require.NoError(t, err)
		require.True(t, reply.Truncated)
		require.LessOrEqual(t, reply.Len(), max(int(udpSize), dns.MinMsgSize))
	}
}

func TestOtherQueries(t *testing.T) {
	s := start(t, map[string]string{"a.test": "x"})
	address, err := dns.Exchange(new(dns.Msg).SetQuestion("a.test.", dns.TypeA), s.Addr())
	require.NoError(t, err)
	require.Equal(t, dns.RcodeSuccess, address.Rcode)
	require.Empty(t, address.Answer)

	none, err := dns.Exchange(new(dns.Msg), s.Addr())
	require.NoError(t, err)
	require.Equal(t, dns.RcodeFormatError, none.Rcode)
}

func TestCloseDuringQueries(t *testing.T) {
	s, err := Start(map[string]string{"a.test": strings.Repeat("x", 2000)})
	require.NoError(t, err)
	// A query that lies unread in the socket is lost; net.Resolver would wait
	// five seconds for its answer.
	const patience = 200 * time.Millisecond
	answered := make(chan struct{}, 1)
	var clients sync.WaitGroup
	for _, network := range []string{"udp", "tcp", "udp", "tcp"} {
		client := dns.Client{Net: network, Timeout: patience}
		clients.Go(func() {
			for {
				query := new(dns.Msg).SetQuestion("a.test.", dns.TypeTXT)
				if _, _, err := client.Exchange(query, s.Addr()); err != nil {
					return
				}
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	<-answered
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	clients.Wait()
	_, err = s.Resolver().LookupTXT(t.Context(), "a.test")
	require.Error(t, err)
}

// ---------------------------------------------------------------------------

func start(t *testing.T, records map[string]string) *Server {
	t.Helper()
	s, err := Start(records)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func ids(nodes []*enode.Node) (ids []enode.ID) {
	for _, n := range nodes {
		ids = append(ids, n.ID())
	}
	return ids
}
