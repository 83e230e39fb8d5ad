package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/serverpool"
)

// A client finds the free servers of a small network, is served, and finds them
// again at once in a second run on the same data.
func TestClientFindsServersAndFindsThemAgain(t *testing.T) {
	network, err := startNetwork(t.Context(), networkConfig{Servers: 8, Full: 0.5, Seed: 7})
	require.NoError(t, err)
	t.Cleanup(network.Close)
	cfg := clientConfig{Datadir: t.TempDir()}

	first := runClient(t, network, cfg)
	require.NotZero(t, first.Asked)
	require.NotZero(t, first.KnownServers)
	require.Zero(t, first.RestoredServers)

	second := runClient(t, network, cfg)
	require.Equal(t, first.KnownServers, second.RestoredServers)
	require.NotZero(t, second.KnownDialedFirst, "the first dial is a known server")
}

func TestNoQueryAsksNobody(t *testing.T) {
	network, err := startNetwork(t.Context(), networkConfig{Servers: 8, Full: 0.5, Seed: 8})
	require.NoError(t, err)
	t.Cleanup(network.Close)
	sum := runClient(t, network, clientConfig{NoQuery: true})
	require.Zero(t, sum.Asked)
	require.NotZero(t, sum.Dialed)
}

// An interrupt ends a run early, with its summary as JSON on stdout.
func TestInterruptEndsWithSummary(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	opt, err := parseFlags([]string{"-json", "-servers", "4", "-seed", "9", "-duration", "1h", "-datadir", t.TempDir()}, io.Discard)
	require.NoError(t, err)
	var out bytes.Buffer
	table := writerFunc(func(b []byte) (int, error) { interrupt(); return len(b), nil })
	require.NoError(t, run(ctx, opt, &out, table))

	var fields map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &fields))
	for _, name := range []string{"seen", "asked", "saidNo", "silent", "dialed", "refused", "connected",
		"firstConnectionMs", "requestsServed", "knownServers", "restoredServers"} {
		require.Contains(t, fields, name)
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-full", "x"}, {"-nosuch"}, {"argument"}} {
		_, err := parseFlags(args, io.Discard)
		require.Error(t, err, args)
	}
	require.ErrorContains(t, run(t.Context(), options{network: networkConfig{Full: 2}}, io.Discard, io.Discard), "Full")
	require.ErrorContains(t, run(t.Context(), options{network: networkConfig{Servers: 1000}}, io.Discard, io.Discard), "Servers")
}

func TestSummary(t *testing.T) {
	known, other := testutil.PublicNode(1), testutil.PublicNode(2)
	var s stats
	s.begin()
	require.EqualValues(t, -1, s.summary(serverpool.Status{}).FirstConnectionMs)
	s.restored([]*enode.Node{known})
	for _, n := range []*enode.Node{known, known, other, known} {
		s.dialed(n.ID())
	}
	s.connected()
	for ms := range keptAnswers + 100 {
		s.request(time.Duration(ms)*time.Millisecond, nil)
	}
	s.request(time.Second, errWrongAnswer)

	sum := s.summary(serverpool.Status{Seen: 12, Known: 3})
	require.Equal(t, 2, sum.KnownDialedFirst)
	require.Equal(t, keptAnswers+100, sum.RequestsServed)
	require.Equal(t, 1, sum.RequestsFailed)
	require.EqualValues(t, 600, sum.MedianAnswerMs)
	require.Contains(t, sum.text(), "servers seen       12")
	require.Contains(t, sum.text(), "known servers      3 (from earlier runs 0; dialed before any other: 2)")
}

// The summary says what the pool is doing and why the others did not connect.
func TestSummarySaysWhy(t *testing.T) {
	n := testutil.PublicNode(1)
	sum := new(stats).summary(serverpool.Status{
		Words:    "looking for servers: 9 seen",
		Outcomes: map[string]int{"silent": 2, "full": 5, "refused": 2},
		ConnectedServers: []serverpool.NodeStatus{{
			ID: n.ID(), Source: "source 2", Value: 7,
			Median: serverpool.Duration(40 * time.Millisecond), Percentile90: serverpool.Duration(91234 * time.Microsecond),
		}},
	})
	require.Contains(t, sum.text(), "status             looking for servers: 9 seen\n")
	require.Contains(t, sum.text(), "last of each node  5 full, 2 refused, 2 silent\n")
	require.Contains(t, sum.text(), n.ID().TerminalString()+", found by source 2: half of the answers within 40ms, 90% within 91ms\n")
}

// While there is no server it is said why, every few seconds.
func TestDisplaySaysWhyThereIsNone(t *testing.T) {
	var b bytes.Buffer
	d := &display{w: &b}
	for n := range 3 * wordsEvery {
		d.show(n+1, summary{Words: "why"})
	}
	d.show(4*wordsEvery, summary{Words: "why", Connected: 1})
	require.Equal(t, 3, bytes.Count(b.Bytes(), []byte("why\n")))
}

// Where the output is no terminal, each second is a line of its own.
func TestDisplayWithoutTerminal(t *testing.T) {
	var b bytes.Buffer
	d := &display{w: &b}
	for n := range headerEvery + 1 {
		d.show(n+1, summary{Seen: n, Connected: 1})
	}
	d.end()
	require.Equal(t, headerEvery+1+2, bytes.Count(b.Bytes(), []byte("\n")))
	require.NotContains(t, b.String(), "\033")
}

func TestDisplayRedrawsOnTerminal(t *testing.T) {
	var b bytes.Buffer
	d := &display{w: &b, terminal: true}
	d.show(1, summary{})
	d.show(2, summary{})
	d.end()
	require.Equal(t, 2, bytes.Count(b.Bytes(), []byte("\n")), "the header and the end")
	require.Equal(t, 1, bytes.Count(b.Bytes(), []byte("\r\033[K")))
}

// ----------------------------------------------------------------------------

// runClient runs a client until it was served by a server, and a little longer.
func runClient(t *testing.T, network *network, cfg clientConfig) summary {
	t.Helper()
	client, err := startLightClient(network, cfg)
	require.NoError(t, err)
	defer client.stop()
	require.Eventually(t, func() bool { return client.summary().RequestsServed >= 50 }, 20*time.Second, 10*time.Millisecond)
	client.stop()
	return client.summary()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
