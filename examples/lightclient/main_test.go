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

// Where the output is no terminal, each second is a line of its own.
func TestDisplayWithoutTerminal(t *testing.T) {
	var b bytes.Buffer
	d := &display{w: &b}
	for n := range headerEvery + 1 {
		d.show(n+1, summary{Seen: n})
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
