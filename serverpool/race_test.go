package serverpool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lespool/lespool/internal/testutil"
)

// Everything at once, with an end at a random moment; for the race detector and
// the finders of deadlocks and leaks.

// mob lets goroutines do whatever can be done to a pool until it is stopped.
type mob struct {
	pool   *ServerPool
	dialer NodeDialer
	nodes  []*enode.Node
	done   chan struct{}
	group  sync.WaitGroup
}

// run repeats f until the mob is told to end.
func (m *mob) run(seed uint64, f func(rnd *rand.Rand, n *enode.Node)) {
	m.group.Go(func() {
		rnd := rand.New(rand.NewPCG(seed, 0))
		for {
			select {
			case <-m.done:
				return
			default:
				f(rnd, m.nodes[rnd.IntN(len(m.nodes))])
				time.Sleep(time.Duration(rnd.IntN(100)) * time.Microsecond)
			}
		}
	})
}

func (m *mob) start(seed uint64) {
	for g := range uint64(2) {
		m.run(seed+g, func(rnd *rand.Rand, n *enode.Node) {
			if tracker, err := m.pool.RegisterNode(n); err == nil {
				serve(tracker, 1+rnd.Uint32N(100))
			}
			if rnd.IntN(2) == 0 {
				m.pool.UnregisterNode(n)
			}
		})
		m.run(seed+10+g, func(rnd *rand.Rand, _ *enode.Node) {
			it := m.pool.Iterator()
			if !it.Next() {
				return
			}
			if n := it.Node(); n != nil && rnd.IntN(3) > 0 {
				if conn, err := m.dialer.Dial(context.Background(), n); err == nil {
					conn.Close()
				}
			}
		})
	}
	m.run(seed+20, func(rnd *rand.Rand, n *enode.Node) {
		switch rnd.IntN(14) {
		case 0:
			m.pool.Status()
		case 1:
			m.pool.GetTimeout()
		case 2:
			m.pool.DialNode(n)
		case 3:
			m.pool.Persist(n)
		case 4:
			m.pool.API().RequestStats()
		case 5:
			m.pool.AddSource(newSource(n))
		case 6:
			m.pool.KnownServers()
		case 7:
			m.pool.Ban(n, time.Duration(1+rnd.IntN(1e9)), "spam")
		case 8:
			m.pool.Unban(n.ID())
		case 9:
			m.pool.Bans()
		case 10:
			m.pool.SetTrusted(n, rnd.IntN(3) == 0)
		case 11:
			m.pool.Forget(n.ID())
		case 12:
			m.pool.NodeStatus(n.ID())
		case 13:
			m.pool.raiseFloor()
		}
	})
}

func mobConfig(seed uint64) Config {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	cfg := Config{
		Requests:  testRequests,
		Store:     testutil.NewFaultyStore(),
		MinRedial: time.Millisecond,
		QueryRate: -1,
		Accept: func(*enode.Node) error {
			if dice(10) == 0 {
				return errors.New("no")
			}
			return nil
		},
		Query: func(ctx context.Context, _ *enode.Node) Answer {
			time.Sleep(time.Duration(dice(200)) * time.Microsecond)
			return Answer(dice(4))
		},
	}
	cfg.Events = Events{
		Found:   func(*enode.Node, string) { dice(2) },
		Asked:   func(*enode.Node) { dice(2) },
		Dropped: func(*enode.Node, error) { panic("as they may") },
	}
	if seed%3 == 0 {
		cfg.Query = nil
	}
	return cfg
}

func TestEverythingAtOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for seed := range uint64(9) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			nodes := publicNodes(0, 60)
			cfg := mobConfig(seed)
			for _, n := range nodes[50:] {
				cfg.Trusted = append(cfg.Trusted, n.String())
			}
			p, err := New(cfg)
			require.NoError(t, err)
			m := &mob{pool: p, nodes: nodes, done: make(chan struct{})}
			m.dialer = p.Dialer(dialFunc(func(context.Context, *enode.Node) (net.Conn, error) {
				ours, theirs := net.Pipe()
				theirs.Close()
				return ours, nil
			}))
			p.AddSource(newCycle(nodes...))
			p.AddSource(newCycle(nodes[20:]...))
			m.start(seed)
			if seed%4 != 3 { // else it is stopped without ever being started
				p.Start()
			}
			time.Sleep(time.Duration(seed*7) * time.Millisecond) // any moment will do
			var stops sync.WaitGroup
			for range 2 {
				stops.Go(p.Stop)
			}
			stops.Wait()
			close(m.done)
			m.group.Wait()
		})
	}
}

// Start, Stop, Close and Next in any order at the same time.
func TestStartAndStopRace(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 50 {
		p, err := New(Config{Requests: testRequests})
		require.NoError(t, err)
		p.AddSource(newSource(testutil.PublicNode(1)))
		var all sync.WaitGroup
		for _, f := range []func(){
			p.Start, p.Stop, p.Iterator().Close, p.Stop, p.Start,
			func() { p.AddSource(newSource(testutil.PublicNode(2))) },
			func() { p.Iterator().Next() },
			func() { p.RegisterNode(testutil.PublicNode(3)) },
			func() { p.UnregisterNode(testutil.PublicNode(3)) },
			func() { p.AddMetrics(nil, nil, nil, nil, nil, nil) },
		} {
			all.Go(f)
		}
		all.Wait()
	}
}

// A query function that hangs is left alone, and ends when it returns.
func TestStuckQueryEndsUntouched(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	release := make(chan struct{})
	asked := make(chan struct{}, plenty)
	p, err := New(Config{
		Requests: testRequests,
		Query: func(context.Context, *enode.Node) Answer {
			asked <- struct{}{}
			<-release
			return Yes
		},
	})
	require.NoError(t, err)
	p.AddSource(newSource(publicNodes(0, 10)...))
	p.Start()
	next := make(chan bool)
	go func() { next <- p.Iterator().Next() }()
	for range minQueries {
		<-asked
	}
	before := time.Now()
	p.Stop()
	require.Less(t, time.Since(before), time.Second)
	require.False(t, <-next)
	close(release)
}

// A day of a hundred servers of all kinds and an application that uses one at a
// time. Nobody is stuck anywhere, most of the good ones are found, and most dials
// go to them. Which of the good ones the explorers miss is a matter of luck: in
// 30 runs 7 to 10 of them were known in the end.
func TestALargeWorld(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		nodes := publicNodes(0, 100)
		rnd := rand.New(rand.NewPCG(1, 1))
		good := make(map[enode.ID]bool)
		for i, n := range nodes {
			w.set([]reply{always(No), always(Silent), mute, always(Yes), always(Unasked)}[i%5], n)
			good[n.ID()] = i%10 == 3 // of those that say yes, one half serves
		}
		w.pool.AddSource(newCycle(nodes...))
		w.pool.Start()
		var sessions, goodOnes int
		for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
			n := w.next(time.Minute)
			if n == nil {
				continue
			}
			time.Sleep(time.Duration(rnd.IntN(40)) * time.Second)
			if good[n.ID()] {
				tracker := w.connect(n)
				serve(tracker, 100)
				time.Sleep(time.Duration(rnd.IntN(600)) * time.Second)
				w.pool.UnregisterNode(n)
				goodOnes++
			}
			sessions++
		}
		require.GreaterOrEqual(t, w.pool.Status().Known, 5, "of 10")
		require.Greater(t, float64(goodOnes), 0.6*float64(sessions), "%d of %d dials", goodOnes, sessions)
		time.Sleep(maxValuelessWait * time.Second * 11 / 10)
		synctest.Wait()
		for n, state := range w.pool.ns.All(none, none) {
			require.True(t, state.HasNone(w.pool.st.inDialProcess), "%v is left in %v", n.ID(), state)
		}
	})
}
