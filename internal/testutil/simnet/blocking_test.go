package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// A pool with goroutines: it reads a stream, asks each node, and gives out those
// that say yes.
func TestBlockingPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := testutil.NewBubbleClock()
		n, err := New(Default(4), clock)
		require.NoError(t, err)
		c := NewClient(n, ClientConfig{})
		p := &naive{client: c, source: n.Stream(10).Iterator()}
		c.Start(Blocking(BlockingPool{
			Iterator: p, Dialer: p.watch, Register: p.register, Unregister: func(*enode.Node) {},
			Timeout: func() time.Duration { return time.Second },
		}))
		time.Sleep(10 * time.Minute)
		require.Len(t, c.Sessions(), 5)
		c.Stop()
		p.Close()
		time.Sleep(time.Second) // connections take their time to close
		r := c.Record()
		fifth, ok := r.First(5)
		require.True(t, ok)
		require.Less(t, fifth.At, 5*time.Minute)
		require.Less(t, fifth.Queries, r.Queries+1)
		require.Positive(t, fifth.Queries)
		require.GreaterOrEqual(t, fifth.Dials, 5)
		require.Greater(t, r.Queries, 20)
		require.InDelta(t, 20*(10*time.Minute-r.Without).Seconds(), r.Answers.Count+r.Lost, 20)

		p.mu.Lock()
		defer p.mu.Unlock()
		require.Equal(t, r.Dials, p.mu.begun)
		require.Equal(t, r.Wasted, p.mu.failed+p.mu.hungUp, "the pool has seen what became of each dial")
		require.Equal(t, len(r.Sessions), p.mu.ended)
		require.Positive(t, p.mu.hungUp, "liars refuse after the connection")
	})
}

func TestIteratorEndsWhenItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := New(Default(4), testutil.NewBubbleClock())
		require.NoError(t, err)
		it := n.Stream(0.001).Iterator()
		require.True(t, it.Next())
		go func() {
			time.Sleep(time.Second)
			it.Close()
			it.Close()
		}()
		require.False(t, it.Next())
		require.False(t, it.Next())
		require.NotNil(t, it.Node())
	})
}

// ---------------------------------------------------------------------------

type naive struct {
	client *Client
	source enode.Iterator
	node   *enode.Node
	mu     struct {
		sync.Mutex
		counts
	}
}

// counts of dials: begun, without connection, ended before and after the node
// was registered.
type counts struct{ begun, failed, hungUp, ended int }

func (p *naive) Next() bool {
	for p.source.Next() {
		p.node = p.source.Node()
		if p.client.Ask(p.node) == Yes {
			return true
		}
	}
	return false
}

func (p *naive) Node() *enode.Node { return p.node }
func (p *naive) Close()            { p.source.Close() }

func (p *naive) register(*enode.Node) (Tracker, error) { return idle{}, nil }

type idle struct{}

func (idle) Served(time.Duration) {}
func (idle) Failed()              {}

func (p *naive) watch(next NodeDialer) NodeDialer { return &watch{p, next} }

type watch struct {
	p    *naive
	next NodeDialer
}

func (w *watch) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) {
	conn, err := w.next.Dial(ctx, n)
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.mu.begun++
	if err != nil {
		w.p.mu.failed++
		return nil, err
	}
	return &watched{conn, w.p}, nil
}

type watched struct {
	net.Conn
	p *naive
}

// Close finds out whether the other side has hung up.
func (w *watched) Close() error {
	w.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err := w.Read(make([]byte, 1))
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if errors.Is(err, io.EOF) {
		w.p.mu.hungUp++
	} else {
		w.p.mu.ended++
	}
	return w.Conn.Close()
}
