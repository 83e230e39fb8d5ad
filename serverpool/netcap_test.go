package serverpool

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
)

// The cap on nodes of one network.

// crowd returns how many nodes count against the cap.
func (w *world) crowd() int {
	return guarded(w.pool, func() int { return len(w.pool.mu.netCap.members) })
}

// neighbours returns nodes of one /24 network, or of one /48.
func neighbours(pattern string, first, count int) (nodes []*enode.Node) {
	for i := first; i < first+count; i++ {
		nodes = append(nodes, testutil.Node(uint64(i), 1, fmt.Sprintf(pattern, i)))
	}
	return nodes
}

func TestAtMostTwoOfANetworkAreUnderWay(t *testing.T) {
	for name, pattern := range map[string]string{"/24": "11.1.1.%d", "/48": "2001:db8:1:%x::1"} {
		t.Run(name, func(t *testing.T) {
			edit := func(c *Config) { c.Query, c.Wanted = nil, 1 }
			inBubble(t, edit, func(t *testing.T, w *world) {
				crowd, other := neighbours(pattern, 1, 20), testutil.PublicNode(100)
				src := newSource(crowd...)
				w.pool.AddSource(src)
				w.pool.Start()
				a := w.mustNext(time.Second)
				w.connect(a) // is all that is wanted: no need to widen
				b := w.mustNext(time.Second)
				require.Nil(t, w.next(time.Second))
				src.feed(other)
				require.Equal(t, other.ID(), w.mustNext(time.Second).ID())
				require.Equal(t, 18, w.pool.Status().NotAccepted[errCrowded.Error()])
				// A place is free when one of them has ended.
				require.NotEqual(t, a.ID(), b.ID())
				w.pool.UnregisterNode(a)
				src.feed(crowd[10])
				require.Equal(t, crowd[10].ID(), w.mustNext(time.Second).ID())
				for _, n := range crowd[11:] {
					w.connect(n) // inbound ones are not refused, but they count
				}
				for _, n := range crowd[12:] {
					w.pool.UnregisterNode(n)
				}
				src.feed(crowd[2:10]...)
				require.Nil(t, w.next(time.Minute))
			})
		})
	}
}

func TestLocalAndTrustedServersAreExempt(t *testing.T) {
	crowd := neighbours("11.1.1.%d", 1, 8)
	var urls []string
	for _, n := range crowd {
		urls = append(urls, n.String())
	}
	inBubble(t, func(c *Config) { c.Trusted = urls; c.Wanted = 1 }, func(t *testing.T, w *world) {
		w.pool.Start()
		for range crowd {
			w.connect(w.mustNext(time.Second))
		}
		require.Equal(t, 8, w.crowd())
	})
	for _, pattern := range []string{"127.0.0.%d", "192.168.1.%d", "10.1.1.%d", "fe80::%x"} {
		inBubble(t, func(c *Config) { c.Query, c.Wanted = nil, 1 }, func(t *testing.T, w *world) {
			w.pool.AddSource(newSource(neighbours(pattern, 1, 8)...))
			w.pool.Start()
			for range 8 {
				w.connect(w.mustNext(time.Second))
			}
		})
	}
}

// Real lists have all servers in a few networks. The pool gets what it wants,
// a step at a time, and goes back when it has it.
func TestCapWidensWhereAllServersShareANetwork(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		crowd := neighbours("11.1.1.%d", 1, 30)
		w.set(always(Yes), crowd...)
		w.pool.AddSource(newCycle(crowd...))
		w.pool.Start()
		begin := time.Now()
		for i := range defaultWanted {
			w.connect(w.mustNext(10 * time.Second))
			if i == 1 {
				require.Less(t, time.Since(begin), time.Second)
			}
			if i > 1 {
				require.GreaterOrEqual(t, time.Since(begin), time.Duration(i-1)*widenAfter, "server %d", i+1)
			}
		}
		require.Equal(t, 3, w.log.count("Too few servers of different networks, allowing more of each"))
		require.Nil(t, w.next(time.Minute), "no more than are wanted")
		require.EqualValues(t, defaultNetCap, guarded(w.pool, func() uint { return w.pool.mu.netCap.limit }))
	})
}

func TestCapCanBeTurnedOff(t *testing.T) {
	inBubble(t, func(c *Config) { c.NetCap, c.Query = -1, nil }, func(t *testing.T, w *world) {
		w.pool.AddSource(newSource(neighbours("11.1.1.%d", 1, 50)...))
		w.pool.Start()
		for range 50 {
			w.connect(w.mustNext(time.Millisecond))
		}
	})
}

// The cap against a model that counts members by network.
// However seldom its nodes are under way at once, a network gets few of the dials, if
// there is an elsewhere: at least so many of the latest ones. Dials of exempt nodes are
// none of either.
func TestShareOfDials(t *testing.T) {
	next := uint64(0)
	dial := func(c *netCap, ip net.IP) (admitted bool) {
		next++
		id := testutil.PublicNode(next).ID()
		if ok, _ := c.admit(id, ip, 0, false); !ok {
			return false
		}
		c.dialed(id)
		c.remove(id)
		return true
	}
	other := func(i int) net.IP { return net.IP{50, 1, byte(i), 1} }
	crowd, local := net.IP{60, 1, 1, 1}, net.IP{127, 0, 0, 1}

	c := newNetCap(2)
	for range 2 * quotaOf {
		require.True(t, dial(c, crowd), "there is nobody else")
		require.True(t, dial(c, local))
	}
	for i := range quotaOthers {
		require.True(t, dial(c, crowd), "after %d others", i)
		require.True(t, dial(c, other(i)))
	}
	require.False(t, dial(c, crowd))
	for i := range 100 {
		require.True(t, dial(c, other(100+i)))
		latest := 0
		for _, of := range c.latest {
			if of == c.networkOf(crowd) {
				latest++
			}
		}
		require.Equal(t, latest < quota, dial(c, crowd), "it had %d of the latest", latest)
	}
	for dial(c, crowd) {
	}
	require.True(t, c.spent(c.networkOf(crowd)))
	c.limit++
	require.False(t, c.spent(c.networkOf(crowd)), "a wider cap has a larger share")

	c = newNetCap(noNetCap)
	for i := range 100 {
		require.True(t, dial(c, other(i)) && dial(c, crowd), "there is no cap")
	}
	require.Empty(t, c.members)
}

func TestNetCapAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		c, now := newNetCap(limit), mclock.AbsTime(0)
		members := make(map[int]string)
		ips := make(map[int]net.IP)
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		inNet := func(key string) (k int) {
			for _, m := range members {
				if m == key {
					k++
				}
			}
			return k
		}
		for range 200 {
			i := rnd.IntN(20)
			if ips[i] == nil {
				ips[i] = net.IPv4(11, 0, byte(rnd.IntN(3)), byte(i))
				if rnd.IntN(3) == 0 {
					ips[i] = net.IP{0x20, 1, 0, 0, 0, byte(rnd.IntN(3)), 9, byte(i), 15: 1}
				}
			}
			key := ips[i].Mask(net.CIDRMask(24, 32)).String()
			if ips[i].To4() == nil {
				key = ips[i].Mask(net.CIDRMask(48, 128)).String()
			}
			_, member := members[i]
			now = now.Add(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			switch rnd.IntN(4) {
			case 0:
				c.remove(enode.ID{byte(i)})
				delete(members, i)
			case 1:
				c.force(enode.ID{byte(i)}, func() net.IP { return ips[i] })
				members[i] = key
			default:
				ok, widened := c.admit(enode.ID{byte(i)}, ips[i], now, false)
				if want := member || inNet(key) < limit; ok != want || widened != 0 {
					t.Fatalf("admit %v: %v, widened %d, want %v with %d members", ips[i], ok, widened, want, inNet(key))
				}
				if ok {
					members[i] = key
				}
			}
			counted := 0
			for of, k := range c.counts {
				if counted += int(k); of == (network{}) || k == 0 {
					t.Fatalf("%d members in network %v", k, of)
				}
			}
			if len(members) != len(c.members) || len(members) != counted {
				t.Fatalf("%d members, %d counted", len(c.members), counted)
			}
		}
	})
}
