package main

import (
	"context"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/udpquery"
)

func TestRequestsAreAnswered(t *testing.T) {
	s := connect(t, serverPlan{Slots: 1, Latency: time.Millisecond, Reliability: 1, Price: 2})
	require.Equal(t, uint64(grantedCapacity), s.server.Capacity)
	require.Equal(t, []uint64{2_000, 10_000, 40_000}, s.server.Costs)
	for kind := range requestTypes {
		for _, amount := range []int{1, 2, maxAmount} {
			took, err := s.request(t.Context(), kind, amount)
			require.NoError(t, err)
			require.Positive(t, took)
		}
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	s := connect(t, serverPlan{Slots: 1, Latency: 5 * time.Millisecond, Reliability: 1})
	results := make(chan error, 100)
	for i := range cap(results) {
		go func() {
			_, err := s.request(t.Context(), i%len(requestTypes), 1)
			results <- err
		}()
	}
	for range cap(results) {
		require.NoError(t, <-results)
	}
}

// A server that never answers rightly gives wrong answers and silence.
func TestUnreliableServer(t *testing.T) {
	s := connect(t, serverPlan{Slots: 1, Latency: time.Millisecond, Reliability: 0})
	wrong, silent := 0, 0
	for wrong == 0 || silent == 0 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := s.request(ctx, 0, 1)
		cancel()
		switch err {
		case errWrongAnswer:
			wrong++
		case context.DeadlineExceeded:
			silent++
		default:
			t.Fatalf("request: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.mu.waiting, "requests that were given up are forgotten")
}

func TestFullServerRefuses(t *testing.T) {
	_, err := tryConnect(t, serverPlan{Slots: 0})
	require.ErrorIs(t, err, errRefused)
}

func TestSlotIsFreedAtTheEnd(t *testing.T) {
	server := testServer(t, serverPlan{Slots: 1})
	client, rw := p2p.MsgPipe()
	ended := make(chan error, 1)
	go func() { ended <- server.run(testVisitor(1), rw) }()
	_, err := handshake(client)
	require.NoError(t, err)
	require.False(t, server.available(t, 2))
	require.True(t, server.available(t, 1), "the holder has it already")
	require.Nil(t, server.clients.Register(testVisitor(1)), "one slot a client")
	require.NoError(t, client.Close())
	require.Error(t, <-ended)
	require.True(t, server.available(t, 2))
}

func TestRequestEndsWithTheSession(t *testing.T) {
	client, rw := p2p.MsgPipe()
	go func() {
		_ = p2p.ExpectMsg(rw, statusMsg, nil)
		_ = p2p.Send(rw, statusMsg, &status{Version: protocolVersion, Costs: make([]uint64, len(requestTypes))})
		_ = p2p.ExpectMsg(rw, requestMsg, nil)
		_ = rw.Close()
	}()
	s, err := handshake(client)
	require.NoError(t, err)
	go func() { _ = s.serve() }()
	_, err = s.request(t.Context(), 0, 1)
	require.ErrorIs(t, err, errClosed)
	_, err = s.request(t.Context(), 0, 1)
	require.ErrorIs(t, err, errClosed)
}

func TestInvalidRequests(t *testing.T) {
	s := connect(t, serverPlan{Slots: 1, Reliability: 1})
	for _, r := range [][2]int{{-1, 1}, {len(requestTypes), 1}, {0, 0}, {0, -1}, {0, maxAmount + 1}} {
		_, err := s.request(t.Context(), r[0], r[1])
		require.ErrorContains(t, err, "cannot ask")
	}
}

// What a peer may send against the rules ends the session, on both sides.
func TestBrokenProtocol(t *testing.T) {
	hello := func(rw p2p.MsgReadWriter) {
		_ = p2p.Send(rw, statusMsg, &status{Version: protocolVersion})
		_ = p2p.ExpectMsg(rw, statusMsg, nil)
	}
	item, err := rlp.EncodeToBytes(make([]byte, maxMessage))
	require.NoError(t, err)
	long := status{Version: protocolVersion, Rest: []rlp.RawValue{item}}
	for about, client := range map[string]func(p2p.MsgReadWriter){
		"other message first": func(rw p2p.MsgReadWriter) { _ = p2p.Send(rw, answerMsg, &answer{}) },
		"other version":       func(rw p2p.MsgReadWriter) { _ = p2p.Send(rw, statusMsg, &status{Version: 9}) },
		"not a status":        func(rw p2p.MsgReadWriter) { _ = p2p.Send(rw, statusMsg, []string{"x"}) },
		"too long a status":   func(rw p2p.MsgReadWriter) { _ = p2p.Send(rw, statusMsg, &long) },
		"status twice":        func(rw p2p.MsgReadWriter) { hello(rw); hello(rw) },
		"unknown type": func(rw p2p.MsgReadWriter) {
			hello(rw)
			_ = p2p.Send(rw, requestMsg, &request{1, uint64(len(requestTypes)), 1})
		},
		"too many items": func(rw p2p.MsgReadWriter) {
			hello(rw)
			_ = p2p.Send(rw, requestMsg, &request{1, 0, 1 << 63})
		},
	} {
		server := testServer(t, serverPlan{Slots: 1})
		local, remote := p2p.MsgPipe()
		go func() {
			client(local)
			_ = local.Close()
		}()
		var reason p2p.DiscReason
		require.ErrorAs(t, server.run(testVisitor(1), remote), &reason, about)
		_ = remote.Close() // as p2p does
		require.True(t, server.available(t, 1), about)
	}
	for about, welcome := range map[string]any{
		"other version": &status{Version: 2, Costs: make([]uint64, len(requestTypes))},
		"short costs":   &status{Version: protocolVersion, Costs: []uint64{1}},
		"not a status":  "x",
	} {
		local, remote := p2p.MsgPipe()
		go func() {
			_ = p2p.ExpectMsg(remote, statusMsg, nil)
			_ = p2p.Send(remote, statusMsg, welcome)
		}()
		_, err := handshake(local)
		var reason p2p.DiscReason
		require.ErrorAs(t, err, &reason, about)
		require.NoError(t, local.Close())
	}
}

func TestChecksumCoversRequestAndData(t *testing.T) {
	req := request{ID: 5, Type: 1, Amount: 2}
	right := answer{ID: 5, Data: make([]byte, req.size())}
	right.Sum = req.sum(right.Data)
	require.True(t, req.answeredBy(right))

	short := answer{ID: 5, Data: right.Data[1:]}
	short.Sum = req.sum(short.Data)
	require.False(t, req.answeredBy(short))
	changed := answer{ID: 5, Data: append([]byte{1}, right.Data[1:]...), Sum: right.Sum}
	require.False(t, req.answeredBy(changed))
	require.False(t, request{ID: 6, Type: 1, Amount: 2}.answeredBy(right))
}

func TestSilentPeerIsNotWaitedForLong(t *testing.T) {
	require.ErrorIs(t, within(time.Millisecond, func() error { <-t.Context().Done(); return nil }), errNoStatus)
	require.NoError(t, within(time.Minute, func() error { return nil }))
}

// ---------------------------------------------------------------------------

// testVisitor is a client without a connection that could be hung up.
func testVisitor(id byte) *visitor {
	return &visitor{node: enode.SignNull(new(enr.Record), enode.ID{id}), hangUp: func() {}}
}

// available tells what the server says to a client that asks for a slot.
func (s *lightServer) available(t *testing.T, id byte) bool {
	query, err := (&udpquery.CapacityQueryReq{AddTokens: make([]udpquery.IntOrInf, 1)}).Encode()
	require.NoError(t, err)
	var reply udpquery.CapacityQueryReply
	require.NoError(t, reply.Decode(s.clients.Handle(enode.ID{id}, "", udpquery.CapacityQueryName, query)))
	return reply[0] > 0
}

// testServer is a server without a network.
func testServer(t *testing.T, p serverPlan) *lightServer {
	clients, err := newClientPool(p.Slots)
	require.NoError(t, err)
	s := &lightServer{plan: p, clients: clients}
	s.mu.rnd = derive(1, t.Name(), 0)
	s.ctx, s.quit = context.WithCancel(context.Background())
	t.Cleanup(clients.Stop)
	t.Cleanup(s.quit)
	return s
}

// connect opens a session with a server like p, which ends with the test.
func connect(t *testing.T, p serverPlan) *session {
	t.Helper()
	s, err := tryConnect(t, p)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() { _ = s.serve(); close(done) }()
	t.Cleanup(func() {
		_ = s.rw.(*p2p.MsgPipeRW).Close()
		<-done
	})
	return s
}

func tryConnect(t *testing.T, p serverPlan) (*session, error) {
	t.Helper()
	server := testServer(t, p)
	local, remote := p2p.MsgPipe()
	ended := make(chan struct{})
	go func() {
		_ = server.run(testVisitor(1), remote)
		_ = remote.Close() // as p2p does
		close(ended)
	}()
	t.Cleanup(func() { _ = local.Close(); <-ended })
	return handshake(local)
}
