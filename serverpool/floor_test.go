package serverpool

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

func TestLeastWaiting(t *testing.T) {
	a, b, c := idOf(1), idOf(2), idOf(3)
	waits := []wait{{c, 5}, {b, 3}, {a, 7}}
	require.Equal(t, []wait{{b, 3}, {c, 5}}, leastWaiting(waits, 2))
	require.Len(t, leastWaiting(waits, 9), 3)
	require.Empty(t, leastWaiting(nil, 2))
}

// turnAwayAll has some servers refuse all connections until each waits for half
// an hour at least.
func turnAwayAll(w *world, src *source, d NodeDialer, nodes []*enode.Node) {
	for {
		least := time.Hour
		for _, n := range nodes {
			least = min(least, w.wait(n))
		}
		if least > 30*time.Minute {
			return
		}
		src.feed(nodes...)
		for range nodes {
			if n := w.next(10 * time.Second); n != nil {
				conn, err := d.Dial(context.Background(), n)
				require.NoError(w.t, err)
				conn.Close()
			}
		}
	}
}

// closedByPeer is a dialer to servers that end every connection at once.
func closedByPeer(context.Context, *enode.Node) (net.Conn, error) {
	ours, theirs := net.Pipe()
	theirs.Close()
	return ours, nil
}

// When every server has a long wait before it the pool tries some of them
// nevertheless after a few minutes.
func TestWaitsLeaveSomeCandidates(t *testing.T) {
	edit := func(c *Config) { c.Query = nil }
	for _, restarts := range []bool{false, true} {
		inBubble(t, edit, func(t *testing.T, w *world) {
			nodes, src := publicNodes(0, 20), newSource()
			open := func() {
				src = newSource()
				w.pool.AddSource(src)
				w.pool.Start()
			}
			d := w.pool.Dialer(dialFunc(closedByPeer))
			open()
			turnAwayAll(w, src, d, nodes)
			if restarts {
				restart(w, edit)
				open()
			}
			var first time.Duration
			given := make(map[enode.ID]bool)
			for begin := time.Now(); time.Since(begin) < 2*floorAfter-time.Minute; {
				src.feed(nodes...)
				if n := w.next(10 * time.Second); n != nil {
					given[n.ID()] = true
					if first == 0 {
						first = time.Since(begin)
					}
				}
			}
			require.Len(t, given, floorSize)
			require.LessOrEqual(t, first, floorAfter+3*persistInterval)
		})
	}
}

// While there are others to try, or a server is connected, or nobody asks, waits
// are waits; and bans always are.
func TestFloorIsForNeedOnly(t *testing.T) {
	for name, need := range map[string]func(w *world, src *source){
		"others": func(w *world, src *source) {
			src.feed(testutil.PublicNode(uint64(100 + w.totalAsked())))
			w.next(time.Minute)
		},
		"connected": func(w *world, src *source) { w.connect(testutil.PublicNode(99)); w.next(time.Minute) },
		"nobody":    func(w *world, src *source) { time.Sleep(time.Minute) },
		"banned": func(w *world, src *source) {
			if n := testutil.PublicNode(0); len(w.pool.Bans()) == 0 {
				require.NoError(w.t, w.pool.Ban(n, 24*time.Hour, ""))
			}
			w.next(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				n, src := testutil.PublicNode(0), newSource()
				w.set(always(Yes), n)
				w.pool.AddSource(src)
				w.pool.Start()
				failUntil(w, src, n, 25*time.Minute)
				end := time.Now().Add(24 * time.Minute)
				asked := len(w.timesAsked(n))
				for time.Now().Before(end) {
					if name != "nobody" {
						src.feed(n)
					}
					need(w, src)
				}
				require.Len(t, w.timesAsked(n), asked)
				require.Empty(t, w.log.infos("No other servers to try, some need not wait any longer"))
			})
		})
	}
}

// The floor starts counting when the pool does, whatever its clock says.
func TestFloorCountsFromTheStart(t *testing.T) {
	clock := new(testutil.Clock)
	clock.Run(1000 * time.Hour)
	p, err := New(Config{Requests: testRequests, Clock: clock, Seed: 1})
	require.NoError(t, err)
	defer p.Stop()
	p.Start()
	p.stopHousekeeping() // it is done by hand here
	p.setNeeded(true)
	banned := testutil.FakeNode(2, 1)
	require.NoError(t, p.Ban(banned, 9000*time.Hour, ""))
	require.NoError(t, p.ns.SetState(testutil.FakeNode(1, 1), p.st.redialWait, none, 1000*time.Hour))
	require.NoError(t, p.ns.SetState(banned, p.st.redialWait, none, 900*time.Hour))
	require.Equal(t, 2, p.Status().Waiting)
	require.Empty(t, p.belowFloor())
	clock.Run(floorAfter - time.Second)
	require.Empty(t, p.belowFloor())
	clock.Run(time.Second)
	require.Equal(t, []wait{{idOf(1), mclock.AbsTime(2000 * time.Hour)}}, p.belowFloor())
	require.Empty(t, p.belowFloor(), "and not again at once")
}
