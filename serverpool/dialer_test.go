package serverpool

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// What the pool learns from the dialer that it wraps.

// dialFunc is a dialer, with the other ends of its connections.
type dialFunc func(ctx context.Context, n *enode.Node) (net.Conn, error)

func (f dialFunc) Dial(ctx context.Context, n *enode.Node) (net.Conn, error) { return f(ctx, n) }

// dialWorld is a world in which one server says yes to every query and the
// application dials through the pool.
type dialWorld struct {
	*world
	node   *enode.Node
	src    *source
	dialer NodeDialer
	server chan net.Conn // other ends of the connections
}

var errRefused = errors.New("connection refused")

func dialStory(t *testing.T, next dialFunc, story func(t *testing.T, w *dialWorld)) {
	t.Helper()
	inBubble(t, nil, func(t *testing.T, base *world) {
		w := &dialWorld{world: base, node: testutil.PublicNode(1), server: make(chan net.Conn, 10)}
		if next == nil {
			next = func(context.Context, *enode.Node) (net.Conn, error) {
				time.Sleep(100 * time.Millisecond)
				ours, theirs := net.Pipe()
				w.server <- theirs
				return ours, nil
			}
		}
		w.dialer = w.pool.Dialer(next)
		w.set(always(Yes), w.node)
		w.src = newSource(w.node)
		w.pool.AddSource(w.src)
		w.pool.Start()
		require.Equal(t, w.node.ID(), w.mustNext(time.Second).ID())
		story(t, w)
	})
}

// dialCost returns what the attempts to use the server have cost so far.
func (w *dialWorld) dialCost() uint64 {
	return w.pool.historyOf(w.node).dialCost.Value(0)
}

func (w *dialWorld) dial() net.Conn {
	w.t.Helper()
	conn, err := w.dialer.Dial(context.Background(), w.node)
	require.NoError(w.t, err)
	return conn
}

// closeByPeer ends the server's side of a connection.
func (w *dialWorld) closeByPeer() { (<-w.server).Close() }

func TestNodeNotDialedGoesBackAtNoCost(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		time.Sleep(takeTimeout - 10*time.Millisecond)
		require.Equal(t, "[dialed, dialTimeout]", w.state(w.node))
		time.Sleep(20 * time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(w.node))
		require.Zero(t, w.dialCost())
		require.Zero(t, w.wait(w.node))
		require.Equal(t, 1, w.pool.Status().Returned)
		require.Zero(t, w.pool.Status().Dialed)
		// It comes again when p2p could take it, 40 s after it was given out.
		w.src.feed(w.node, w.node)
		require.Nil(t, w.next(29*time.Second))
		w.src.feed(w.node)
		time.Sleep(2 * time.Second)
		w.src.feed(w.node)
		require.NotNil(t, w.mustNext(time.Second))
	})
}

func TestRefusedDialCostsAndBreaksThePromise(t *testing.T) {
	refuse := func(context.Context, *enode.Node) (net.Conn, error) {
		time.Sleep(time.Second)
		return nil, errRefused
	}
	dialStory(t, refuse, func(t *testing.T, w *dialWorld) {
		_, err := w.dialer.Dial(context.Background(), w.node)
		require.ErrorIs(t, err, errRefused)
		require.Equal(t, "[redialWait]", w.state(w.node))
		require.EqualValues(t, 10000, w.dialCost())
		require.Equal(t, 10*time.Second, w.wait(w.node))
		require.Equal(t, 1, w.pool.Status().Refused)
		require.Equal(t, 1, w.pool.Status().Dialed)
	})
}

func TestDialUnderWayIsNotTimedOutBefore16Seconds(t *testing.T) {
	slow := func(ctx context.Context, n *enode.Node) (net.Conn, error) {
		time.Sleep(20 * time.Second)
		return nil, errRefused
	}
	dialStory(t, slow, func(t *testing.T, w *dialWorld) {
		time.Sleep(9 * time.Second)
		go w.dialer.Dial(context.Background(), w.node)
		time.Sleep(16*time.Second - time.Millisecond)
		require.Equal(t, "[dialed, dialTimeout]", w.state(w.node))
		time.Sleep(2 * time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(w.node))
		require.EqualValues(t, 10000, w.dialCost())
		time.Sleep(4 * time.Second) // the dialer returns
		require.EqualValues(t, 10000, w.dialCost(), "a dial ends once")
		require.Equal(t, 1, w.pool.Status().TimedOut)
		require.Zero(t, w.pool.Status().Refused)
	})
}

func TestHandshakesHaveTheirOwnTime(t *testing.T) {
	slow := func(context.Context, *enode.Node) (net.Conn, error) {
		time.Sleep(15 * time.Second)
		ours, theirs := net.Pipe()
		_ = theirs
		return ours, nil
	}
	dialStory(t, slow, func(t *testing.T, w *dialWorld) {
		w.dial()
		time.Sleep(15 * time.Second)
		require.Equal(t, "[dialed, dialTimeout]", w.state(w.node))
		w.connect(w.node)
		require.Equal(t, "[connected]", w.state(w.node))
		time.Sleep(time.Minute)
		require.Equal(t, "[connected]", w.state(w.node))
		require.Zero(t, w.dialCost(), "connecting costs nothing yet")
	})
}

func TestHandshakesThatTakeTooLongCostADial(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		conn := w.dial()
		time.Sleep(dialTimeout + time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(w.node))
		require.EqualValues(t, 10000, w.dialCost())
		require.NoError(t, conn.Close())
		require.EqualValues(t, 10000, w.dialCost())
		require.Equal(t, Status{TimedOut: 1}, Status{TimedOut: w.pool.Status().TimedOut, Refused: w.pool.Status().Refused})
	})
}

// A server that says yes and then closes the connection is told from a local
// end by whoever closed first, whether anybody was reading or not.
func TestConnectionClosedByTheOtherSide(t *testing.T) {
	for name, notice := range map[string]func(w *dialWorld, conn net.Conn){
		"and read": func(w *dialWorld, conn net.Conn) {
			go w.closeByPeer()
			_, err := conn.Read(make([]byte, 10))
			require.Error(w.t, err)
		},
		"after its last words": func(w *dialWorld, conn net.Conn) {
			peer := <-w.server
			go func() { peer.Write([]byte("too many peers")); peer.Close() }()
		},
		"before the close here": func(w *dialWorld, _ net.Conn) { w.closeByPeer() },
		"a moment after the close here": func(w *dialWorld, _ net.Conn) {
			time.AfterFunc(10*time.Millisecond, w.closeByPeer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dialStory(t, nil, func(t *testing.T, w *dialWorld) {
				conn := w.dial()
				notice(w, conn)
				require.NoError(t, conn.Close())
				require.Equal(t, 1, w.pool.Status().Refused)
				require.EqualValues(t, 10000, w.dialCost())
				require.Equal(t, "[redialWait]", w.state(w.node))
				conn.Close() // p2p closes twice
				require.Equal(t, 1, w.pool.Status().Refused)
				require.EqualValues(t, 10000, w.dialCost())
			})
		})
	}
}

func TestConnectionClosedHereBreaksNoPromise(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		conn := w.dial()
		peer := <-w.server
		done := make(chan struct{})
		go func() { conn.Read(make([]byte, 1)); close(done) }() // p2p reads when it closes
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
		<-done // a deadline is no end either
		before := time.Now()
		require.NoError(t, conn.Close())
		require.LessOrEqual(t, time.Since(before), peerEndWait)
		require.Zero(t, w.pool.Status().Refused)
		require.EqualValues(t, 10000, w.dialCost())
		require.Equal(t, "[redialWait]", w.state(w.node))
		conn.Close()
		require.EqualValues(t, 10000, w.dialCost())
		peer.Close()
	})
}

// After RegisterNode the connection's end is UnregisterNode's business.
func TestCloseOfARegisteredConnectionChangesNothing(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		conn := w.dial()
		w.connect(w.node)
		w.closeByPeer()
		before := time.Now()
		conn.Read(make([]byte, 1))
		conn.Close()
		require.Zero(t, time.Since(before), "nothing to find out")
		require.Equal(t, "[connected]", w.state(w.node))
		require.Zero(t, w.pool.Status().Refused)
	})
}

func TestDialTakenLateIsWatchedToo(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		time.Sleep(takeTimeout + 5*time.Second)
		require.Equal(t, "[redialWait]", w.state(w.node))
		conn := w.dial()
		require.Equal(t, "[dialed, dialTimeout]", w.state(w.node))
		require.Equal(t, 1, w.crowd(), "it counts in its network again")
		w.closeByPeer()
		conn.Close()
		require.Equal(t, 1, w.pool.Status().Refused)
		require.EqualValues(t, 10000, w.dialCost())
	})
}

func TestDialOfOtherNodesPassesThrough(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		other := testutil.PublicNode(2)
		conn, err := w.dialer.Dial(context.Background(), other)
		require.NoError(t, err)
		require.Equal(t, "[]", w.state(other))
		_, wrapped := conn.(*watchedConn)
		require.False(t, wrapped)
		_, err = w.dialer.Dial(context.Background(), nil)
		require.ErrorIs(t, err, ErrNoNode)
	})
}

// A dial that the p2p server calls off, at shutdown, is nobody's fault.
func TestCancelledDialCostsNothing(t *testing.T) {
	wait := func(ctx context.Context, n *enode.Node) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	dialStory(t, wait, func(t *testing.T, w *dialWorld) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Second, cancel)
		_, err := w.dialer.Dial(ctx, w.node)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, "[redialWait]", w.state(w.node))
		require.Zero(t, w.dialCost())
		require.Zero(t, w.pool.Status().Refused)
	})
	dialStory(t, wait, func(t *testing.T, w *dialWorld) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := w.dialer.Dial(ctx, w.node)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualValues(t, 10000, w.dialCost(), "a time limit is for the other side")
		require.Equal(t, 1, w.pool.Status().Refused)
	})
}

func TestBadDialers(t *testing.T) {
	nothing := func(context.Context, *enode.Node) (net.Conn, error) { return nil, nil }
	dialStory(t, nothing, func(t *testing.T, w *dialWorld) {
		_, err := w.dialer.Dial(context.Background(), w.node)
		require.Error(t, err)
		require.Equal(t, "[redialWait]", w.state(w.node))
	})
	panics := func(context.Context, *enode.Node) (net.Conn, error) { panic("dialer") }
	dialStory(t, panics, func(t *testing.T, w *dialWorld) {
		require.Panics(t, func() { w.dialer.Dial(context.Background(), w.node) })
		time.Sleep(dialTimeout + time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(w.node), "dialed ends in any case")
	})
}

func TestDialAfterStop(t *testing.T) {
	dialStory(t, nil, func(t *testing.T, w *dialWorld) {
		conn := w.dial()
		w.pool.Stop()
		require.NoError(t, conn.Close())
		require.NoError(t, w.dial().Close())
	})
}

// Without the wrapper nobody tells the pool what was dialed.
func TestWithoutDialerExpiryCostsADialButNoPromise(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		n := testutil.PublicNode(1)
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		w.mustNext(time.Second)
		require.Equal(t, 1, w.pool.Status().Dialed)
		time.Sleep(blindTimeout - time.Millisecond)
		require.Equal(t, "[dialed, dialTimeout]", w.state(n))
		time.Sleep(2 * time.Millisecond)
		require.Equal(t, "[redialWait]", w.state(n))
		require.EqualValues(t, 10000, w.pool.historyOf(n).dialCost.Value(0))
		require.Equal(t, 1, w.pool.Status().TimedOut)
		require.Zero(t, w.pool.Status().Refused)
	})
}

// The same over real connections, with the dialer of the package.
func TestDialerOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("no room"))
			conn.Close()
		}
	})
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	n := testutil.Node(1, 1, "127.0.0.1", enr.TCP(port))
	p, err := New(Config{Requests: testRequests, MinRedial: time.Millisecond})
	require.NoError(t, err)
	defer p.Stop()
	dialer := p.Dialer(nil)
	p.AddSource(newSource(n))
	p.Start()
	require.True(t, p.Iterator().Next())
	conn, err := dialer.Dial(context.Background(), p.Iterator().Node())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, 1, p.Status().Refused, "closed by the other side")

	l.Close()
	serving.Wait()
	gone := testutil.Node(2, 1, "127.0.0.1", enr.TCP(port))
	p.AddSource(newSource(gone))
	require.True(t, p.Iterator().Next())
	_, err = dialer.Dial(context.Background(), p.Iterator().Node())
	require.Error(t, err)
	require.Equal(t, 2, p.Status().Refused)
}
