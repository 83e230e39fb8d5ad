package udpquery

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Everybody always has a batch waiting: the service is shared as the rules say,
// by cost, whatever a batch costs and however many are sent.
func TestShares(t *testing.T) {
	for name, loads := range map[string][]load{
		"one node here, two there": {
			{addr: 1, cost: 1, want: 0.5}, {addr: 2, cost: 1, want: 0.25}, {addr: 2, cost: 1, want: 0.25},
		},
		"with different costs": {
			{addr: 1, cost: 16, want: 0.5}, {addr: 2, cost: 3, want: 0.25}, {addr: 2, cost: 1, want: 0.25},
		},
		"with different zeal": {
			{addr: 1, cost: 1, depth: 2, want: 0.5}, {addr: 2, cost: 1, depth: 50, want: 0.25}, {addr: 2, cost: 1, depth: 10, want: 0.25},
		},
		"with values 3, 0 and 7": {
			{addr: 1, cost: 1, value: 3, want: (0.5 + 0.3) / 2}, {addr: 2, cost: 1, want: 0.25 / 2}, {addr: 2, cost: 1, value: 7, want: (0.25 + 0.7) / 2},
		},
		"with values and costs": {
			{addr: 1, cost: 1, value: 3e15, want: (0.5 + 0.3) / 2}, {addr: 2, cost: 16, want: 0.25 / 2}, {addr: 2, cost: 4, value: 7e15, want: (0.25 + 0.7) / 2},
		},
		"with tiny values": {
			{addr: 1, cost: 1, value: 3e-15, want: (0.5 + 0.3) / 2}, {addr: 2, cost: 1, want: 0.25 / 2}, {addr: 2, cost: 1, value: 7e-15, want: (0.25 + 0.7) / 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSimulation(1)
			s.run(loads, 100_000)
			var total float64
			for _, l := range loads {
				total += float64(s.served[l.id])
			}
			for i, l := range loads {
				require.InDelta(t, l.want, float64(s.served[l.id])/total, 0.03, "load %d", i)
				require.Zero(t, s.dropped[l.id], "load %d", i)
			}
		})
	}
}

// Three nodes of value keep equal shares of at least half of the service, and
// lose nothing, whoever floods the server with however expensive batches.
func TestSharesUnderFlood(t *testing.T) {
	for name, flood := range map[string]struct{ addrs, ids int }{
		"one node":                        {1, 1},
		"many nodes at one address":       {1, 200},
		"many addresses":                  {200, 200},
		"many addresses, each many nodes": {50, 500},
	} {
		for _, cost := range []uint64{1, 16} {
			t.Run(fmt.Sprintf("%s, cost %d", name, cost), func(t *testing.T) {
				loads := []load{{addr: 1, cost: 1, value: 1}, {addr: 2, cost: 1, value: 1}, {addr: 3, cost: 1, value: 1}}
				for i := range flood.ids {
					loads = append(loads, load{addr: 10 + i%flood.addrs, cost: cost, rate: max(1, 600/flood.ids)})
				}
				s := newSimulation(2)
				s.run(loads, 15_000)
				var good, spam float64
				for i, l := range loads {
					if i < 3 {
						good += float64(s.served[l.id])
						require.Zero(t, s.dropped[l.id])
					} else {
						spam += float64(s.served[l.id])
					}
				}
				require.LessOrEqual(t, spam/(spam+good), 0.53)
				for _, l := range loads[:3] {
					require.InDelta(t, 1./3, float64(s.served[l.id])/good, 0.03)
				}
			})
		}
	}
}

// An address does not gain by sending from several ports, nor from all the
// addresses of its own IPv6 network.
func TestOneHostIsOneAddress(t *testing.T) {
	for _, same := range [][]string{
		{"10.1.2.3:1", "10.1.2.3:65535", "10.1.2.3", "::ffff:10.1.2.3", "[::ffff:10.1.2.3]:4"},
		{"[2001:db8:1:2::1]:1", "2001:db8:1:2:ffff::1", "2001:db8:1:2:3::1%eth0"},
	} {
		for _, address := range same {
			require.Equal(t, textOrigin(same[0]).group(), textOrigin(address).group(), address)
		}
	}
	require.NotEqual(t, textOrigin("10.1.2.3").group(), textOrigin("10.1.2.4").group())
	require.NotEqual(t, textOrigin("2001:db8:1:2::").group(), textOrigin("2001:db8:1:3::").group())
	require.NotEqual(t, textOrigin("one").group(), textOrigin("another").group())
}

// One node floods while the others ask now and then. It is dropped and penalized
// although one of its batches is in service at that moment.
func TestPenaltySurvivesService(t *testing.T) {
	l := newLimiter(0, rand.New(rand.NewPCG(3, 0)))
	flooder := load{id: nodeID(1), addr: 1, cost: 16}
	require.Empty(t, l.add(0, flooder.ticket()))
	inService := l.next(0)
	require.NotNil(t, inService)
	require.Empty(t, l.add(0, load{id: nodeID(2), addr: 2, cost: 1}.ticket()))
	dropped := 0
	for dropped == 0 {
		dropped = len(l.add(0, flooder.ticket()))
	}
	p := l.peers[flooder.id]
	require.EqualValues(t, 16*(dropped+1), p.penalty, "what is in service counts")
	l.done()
	require.Same(t, p, l.peers[flooder.id])
	require.EqualValues(t, 16*(dropped+1), p.penalty)
	late := flooder.ticket()
	require.Equal(t, []*ticket{late}, l.add(0, late), "still penalized")
	require.EqualValues(t, 16*(dropped+2), p.penalty)
	require.Equal(t, nodeID(2), l.next(0).id, "the honest one is served next")
	l.done()
	checkLimiter(t, l)
	require.Nil(t, l.next(0))
	require.Empty(t, l.peers, "nobody waits: all is forgiven")
}

// A huge penalty or value must not level out the differences between the rest
// once it is gone, nor while it is there.
func TestHugePenaltyAndValueAreForgotten(t *testing.T) {
	s := newSimulation(4)
	s.run([]load{{addr: 1, cost: 1}, {addr: 2, cost: 16, rate: 5000, value: 1e300}}, 10_000)
	loads := []load{
		{addr: 3, cost: 1, value: 3, want: 0.4}, {addr: 4, cost: 16, want: 0.125}, {addr: 4, cost: 1, value: 7, want: 0.475},
	}
	s.run(loads, 100_000)
	var total float64
	for _, l := range loads {
		total += float64(s.served[l.id])
	}
	for i, l := range loads {
		require.InDelta(t, l.want, float64(s.served[l.id])/total, 0.03, "load %d", i)
	}
}

func TestDropsWorstOffenderFirst(t *testing.T) {
	l := newLimiter(0, rand.New(rand.NewPCG(5, 0)))
	for i := range 100 {
		require.Empty(t, l.add(0, load{id: nodeID(i), addr: i, cost: 1}.ticket()))
	}
	var dropped []*ticket
	for len(dropped) == 0 {
		dropped = l.add(0, load{id: nodeID(1000), addr: 1000, cost: 16}.ticket())
	}
	for _, t1 := range dropped {
		require.Equal(t, nodeID(1000), t1.id)
	}
	require.EqualValues(t, 100, l.queued)
}

// Of those who ask the same those who came last go.
func TestDropsLatestOfEquals(t *testing.T) {
	l := newLimiter(0, rand.New(rand.NewPCG(6, 0)))
	var dropped []*ticket
	for i := 0; len(dropped) == 0; i++ {
		dropped = l.add(0, load{id: nodeID(i), addr: i, cost: 1}.ticket())
	}
	require.Len(t, dropped, maxQueued/2+1)
	for _, t1 := range dropped {
		require.GreaterOrEqual(t, t1.seq, uint64(maxQueued/2))
	}
}

func TestPacing(t *testing.T) {
	const delay = 10 * time.Millisecond
	l := newLimiter(delay, rand.New(rand.NewPCG(7, 0)))
	var now mclock.AbsTime
	costs := []uint64{16, 1, 1, 5}
	for i, cost := range costs {
		l.add(now, load{id: nodeID(i), addr: i, cost: cost}.ticket())
	}
	var spent uint64
	for range costs {
		require.Equal(t, mclock.AbsTime(delay)*mclock.AbsTime(spent), now)
		t1 := l.next(now)
		require.NotNil(t, t1, "served at once when its time has come")
		spent += t1.cost
		l.done()
		require.Nil(t, l.next(now))
		if at, ok := l.wake(); ok {
			now = at
		}
	}
	_, ok := l.wake()
	require.False(t, ok, "nothing waits")

	now += mclock.AbsTime(time.Hour)
	l.add(now, load{id: nodeID(1), addr: 1, cost: 1}.ticket())
	require.NotNil(t, l.next(now))
	l.done()
	l.add(now, load{id: nodeID(1), addr: 1, cost: 1}.ticket())
	require.Nil(t, l.next(now), "an idle hour earns no credit")
}

func TestExpiry(t *testing.T) {
	l := newLimiter(0, rand.New(rand.NewPCG(8, 0)))
	first, second := load{id: nodeID(1), addr: 1, cost: 2}.ticket(), load{id: nodeID(1), addr: 1, cost: 3}.ticket()
	l.add(0, first)
	require.Same(t, first, l.next(0))
	l.add(1, second)
	at, ok := l.wake()
	require.True(t, ok)
	require.EqualValues(t, maxWait, at)
	require.Empty(t, l.expire(at-1))
	require.Equal(t, []*ticket{first}, l.expire(at), "nobody waits for it any more")
	require.Equal(t, []*ticket{second}, l.expire(at+1))
	require.Empty(t, l.expire(at+1))
	checkLimiter(t, l)
	l.done()
	require.Empty(t, l.peers)
}

// Whatever comes, in whatever order: every ticket is dropped or served exactly
// once, all sums are right, memory is bounded, and nothing stays behind.
func TestLimiterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLimiter(rapid.SampledFrom([]time.Duration{0, time.Millisecond}).Draw(t, "delay"), rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		var now mclock.AbsTime
		outcome := make(map[*ticket]int)
		resolve := func(tickets []*ticket) {
			for _, one := range tickets {
				outcome[one]++
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				who := load{
					id: nodeID(rapid.IntRange(0, 30).Draw(t, "id")), addr: rapid.IntRange(0, 5).Draw(t, "addr"),
					cost:  rapid.Uint64Range(1, MaxRequestLength).Draw(t, "cost"),
					value: rapid.SampledFrom([]float64{0, 0, 1, 2.5, 1e300, 1e-300, math.NaN(), math.Inf(1), -1}).Draw(t, "value"),
				}
				for range rapid.SampledFrom([]int{1, 1, 1, 70}).Draw(t, "times") {
					one := who.ticket()
					outcome[one] = 0
					resolve(l.add(now, one))
				}
			},
			"idle": func(t *rapid.T) {
				one := load{id: nodeID(rapid.IntRange(0, 30).Draw(t, "id")), addr: 1, cost: 2, value: 1}.ticket()
				idle := l.serving == nil && len(l.peers) == 0 && now >= l.free
				require.Equal(t, idle, l.addIdle(now, one))
				if idle {
					outcome[one] = 0
					require.Same(t, one, l.serving)
				}
			},
			"next": func(*rapid.T) {
				if l.serving == nil {
					l.next(now)
				}
			},
			"done": func(*rapid.T) {
				if one := l.serving; one != nil {
					l.done()
					if outcome[one] == 0 { // else nobody waited any more
						outcome[one]++
					}
				}
			},
			"time passes": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "ms")) * time.Millisecond)
				resolve(l.expire(now))
			},
			"stop": func(*rapid.T) { resolve(l.clear()) },
			"": func(t *rapid.T) {
				checkLimiter(t, l)
				for one, times := range outcome {
					require.LessOrEqual(t, times, 1)
					if times == 1 {
						delete(outcome, one)
					}
				}
				waits := l.ages.size
				require.Len(t, outcome, waits, "those without an outcome wait")
			},
		})
		resolve(l.clear())
		if one := l.serving; one != nil {
			l.done()
			outcome[one] = max(1, outcome[one])
		}
		for _, times := range outcome {
			require.Equal(t, 1, times)
		}
		require.Empty(t, l.peers)
		require.Empty(t, l.groups)
		require.True(t, l.byAddress.IsEmpty())
		require.True(t, l.byValue.IsEmpty())
	})
}

// Tens of thousands of nodes at as many addresses send a batch each, while the
// service hangs or is slow.
func TestMemoryIsBoundedUnderFlood(t *testing.T) {
	for _, hangs := range []bool{true, false} {
		l := newLimiter(time.Millisecond, rand.New(rand.NewPCG(9, 0)))
		var now mclock.AbsTime
		for i := range 50_000 {
			now = now.Add(time.Microsecond)
			l.expire(now)
			l.add(now, load{id: nodeID(i), addr: i, cost: uint64(1 + i%16)}.ticket())
			if l.next(now) != nil && !hangs {
				l.done()
			}
			if l.queued > maxQueued || max(len(l.peers), len(l.groups)) > maxQueued+maxPenalized+1 || l.ages.size > maxQueued+1 {
				t.Fatalf("after %d: cost %d, %d nodes, %d addresses, %d tickets", i, l.queued, len(l.peers), len(l.groups), l.ages.size)
			}
		}
		checkLimiter(t, l)
	}
}

func TestSameSeedSameOrder(t *testing.T) {
	trace := func() (order []enode.ID) {
		s := newSimulation(10)
		s.trace = func(id enode.ID) { order = append(order, id) }
		var loads []load
		for i := range 50 {
			loads = append(loads, load{addr: i % 7, cost: uint64(1 + i%16), value: float64(i % 3), rate: i})
		}
		s.run(loads, 5000)
		return order
	}
	require.Equal(t, trace(), trace())
}

// BenchmarkLimiter takes one batch through the limiter while a thousand nodes at
// a thousand addresses wait.
func BenchmarkLimiter(b *testing.B) {
	l := newLimiter(0, rand.New(rand.NewPCG(11, 0)))
	tickets := make([]*ticket, 1000)
	for i := range tickets {
		tickets[i] = load{id: nodeID(i), addr: i, cost: 1}.ticket()
		if i < len(tickets)-1 {
			l.add(0, tickets[i])
		}
	}
	free := tickets[len(tickets)-1]
	b.ReportAllocs()
	for b.Loop() {
		l.add(0, free)
		free = l.next(0)
		l.done()
	}
}

// ---------------------------------------------------------------------------

// load is a node that sends batches of one cost: as many as keep depth waiting,
// or rate of them per unit of service, come what may.
type load struct {
	addr  int
	id    enode.ID
	cost  uint64
	value float64
	depth int // default 3
	rate  int
	want  float64
}

func (l load) ticket() *ticket {
	addr := netip.AddrFrom4([4]byte{10, byte(l.addr >> 16), byte(l.addr >> 8), byte(l.addr)})
	return &ticket{id: l.id, group: origin{ip: addr}.group(), cost: l.cost, value: l.value}
}

func nodeID(i int) (id enode.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(i)+1)
	return id
}

// simulation runs a limiter under loads; a unit of cost takes a microsecond.
type simulation struct {
	*limiter
	now     mclock.AbsTime
	nodes   int
	waiting map[enode.ID]int
	served  map[enode.ID]uint64
	dropped map[enode.ID]int
	trace   func(enode.ID)
}

func newSimulation(seed uint64) *simulation {
	return &simulation{
		limiter: newLimiter(time.Microsecond, rand.New(rand.NewPCG(seed, 0))),
		waiting: make(map[enode.ID]int), served: make(map[enode.ID]uint64), dropped: make(map[enode.ID]int),
	}
}

func (s *simulation) run(loads []load, batches int) {
	for i := range loads {
		s.nodes++
		loads[i].id = nodeID(s.nodes)
		if loads[i].depth == 0 {
			loads[i].depth = 3
		}
	}
	for range batches {
		for _, l := range loads {
			if l.rate == 0 {
				for s.waiting[l.id] < l.depth {
					s.send(l)
				}
			}
			for range l.rate * s.limiter.sinceLast() {
				s.send(l)
			}
		}
		if t := s.next(s.now); t != nil {
			s.served[t.id] += t.cost
			s.waiting[t.id]--
			if s.trace != nil {
				s.trace(t.id)
			}
			s.done()
		}
		s.now = max(s.now, s.free)
		s.count(s.expire(s.now))
	}
	for _, t := range s.clear() { // the end is nobody's loss
		s.waiting[t.id]--
	}
}

// sinceLast is 1 every so often, so that floods send in bursts.
func (l *limiter) sinceLast() int {
	if l.rnd.IntN(20) == 0 {
		return 1
	}
	return 0
}

func (s *simulation) send(l load) {
	s.waiting[l.id]++
	s.count(s.add(s.now, l.ticket()))
}

func (s *simulation) count(dropped []*ticket) {
	for _, t := range dropped {
		s.waiting[t.id]--
		s.dropped[t.id]++
	}
}

// checkLimiter compares all that is kept incrementally with a recount.
func checkLimiter(t require.TestingT, l *limiter) {
	var queued uint64
	tickets, waiting, penalized := 0, 0, 0
	sizes, sums := make(map[*group]int), make(map[*group]uint64)
	for id, p := range l.peers {
		require.Equal(t, id, p.id)
		var cost uint64
		for one := p.head; one != nil; one = one.behind {
			require.Same(t, p, one.peer)
			cost += one.cost
			tickets++
		}
		require.Equal(t, cost, p.queued)
		queued += cost
		if p.head != nil {
			require.Zero(t, p.penalty)
			require.Same(t, p, l.waiting[p.place])
			waiting++
		}
		if p.penalty > 0 {
			penalized++
		}
		active := p.head != nil || p.penalty > 0
		require.True(t, active, "forgotten otherwise")
		require.NotNil(t, p.group)
		require.Equal(t, active && p.value > 0, p.valueWeight > 0)
		if active {
			sizes[p.group]++
			sums[p.group] += p.flatWeight
			require.Positive(t, p.flatWeight)
			require.Same(t, p.group, l.groups[p.group.key])
		}
	}
	if s := l.serving; s != nil {
		require.Equal(t, s.cost, s.peer.inService)
		if p := l.peers[s.id]; p != nil {
			require.Same(t, s.peer, p)
		}
		if s.byAge.prev != nil || l.ages.first == s {
			tickets++
		}
	}
	require.Equal(t, tickets, l.ages.size)
	require.Equal(t, queued, l.queued)
	require.LessOrEqual(t, queued, uint64(maxQueued))
	require.Len(t, l.waiting, waiting)
	require.Equal(t, penalized, l.penalized.size)
	require.LessOrEqual(t, penalized, maxPenalized)
	require.Len(t, l.groups, len(sizes))
	require.Equal(t, len(sizes), l.byAddress.Len())
	for g, size := range sizes {
		require.Equal(t, size, g.size)
		require.Equal(t, sums[g], g.sum)
	}
}
