package simnet

import (
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// seen is what can be asked of a server at one time.
type seen struct {
	present, room bool
	answer        Answer
	end           time.Duration
}

func look(n *Network, i int, t time.Duration) seen {
	s := n.server(i)
	if s.dead {
		return seen{answer: s.ask(t)}
	}
	return seen{s.present(t), s.hasRoom(t), s.ask(t), s.sessionEnd(t)}
}

// Two pools that ask different servers at different times, in another order, find
// the same network.
func TestNetworkIsTheSameWhateverIsAsked(t *testing.T) {
	calm, busy := network(t, Default(7)), network(t, Default(7))
	times := []time.Duration{3 * time.Second, time.Hour, 25 * time.Hour}
	differs := 0
	for k, at := range times {
		for i := busy.total - 1; i >= 0; i -= 3 {
			for step := range 5 { // what calm does not ask, up to that time
				if k > 0 {
					look(busy, i, times[k-1]+time.Duration(step)*(at-times[k-1])/5)
				}
			}
			look(busy, i, at)
		}
		for i := range calm.total {
			mine := look(calm, i, at)
			require.Equal(t, mine, look(busy, i, at), "node %d at %v", i, at)
			require.Equal(t, calm.Node(i).String(), busy.Node(i).String())
			if mine != look(network(t, Default(8)), i, at) {
				differs++
			}
			if i > 200 {
				break // enough, and a network each takes its time
			}
		}
	}
	require.Greater(t, differs, 100, "another seed makes another network")
}

func TestSharesAreAsConfigured(t *testing.T) {
	cfg := Default(1)
	cfg.Sybils, cfg.Mute = 0.3, 0.1
	n := network(t, cfg)
	require.Equal(t, 2000, n.Servers())
	require.Equal(t, 2857, n.Len(), "30% of the records are dead")
	count := make(map[string]int)
	for i := range n.Len() {
		s := n.server(i)
		switch {
		case s.dead:
			count["dead"]++
			continue
		case s.sybil:
			count["sybil"]++
			require.False(t, s.liar || s.mute)
			continue
		}
		count[cfg.Classes[s.class].Name]++
		if s.liar {
			count["liar"]++
		}
		if s.mute {
			count["mute"]++
		}
	}
	require.Equal(t, map[string]int{
		"dead": 857, "sybil": 600, "good": 140, "average": 700, "poor": 560, "liar": 70, "mute": 140,
	}, count)
}

func TestServersHaveRoomAsConfigured(t *testing.T) {
	for _, full := range []float64{0, 0.5, 0.95, 1} {
		cfg := Default(1)
		cfg.Full, cfg.Liars = full, 0
		n := network(t, cfg)
		free, still := 0, 0
		for i := range n.Servers() {
			if s := n.server(i); s.hasRoom(time.Hour) {
				free++
				if s.hasRoom(time.Hour + time.Second) {
					still++
				}
			}
		}
		require.InDelta(t, 1-full, float64(free)/2000, 0.03, "full %v", full)
		require.GreaterOrEqual(t, float64(still), 0.95*float64(free), "room is still there a second later")
	}
}

// Free spells last as long as they should, and so do times of presence.
func TestSpellsLastAsLongAsConfigured(t *testing.T) {
	a := newAlternation(generator(1, 2, forRoom, 0), 90*time.Second, 1710*time.Second)
	var free, spells time.Duration
	for at := time.Duration(0); at < 3000*time.Hour; {
		state, from := a.at(at), at
		at = a.until
		if state && from > 0 {
			free += at - from
			spells++
		}
	}
	require.InDelta(t, 90, (free / spells).Seconds(), 4)
	require.InDelta(t, 0.05, free.Hours()/3000, 0.003)
}

// What is rarer, room or none, lasts for the configured time.
func TestSpellsFitTheLoad(t *testing.T) {
	for full, want := range map[float64][2]time.Duration{
		0.95: {90 * time.Second, 1710 * time.Second}, 0.5: {90 * time.Second, 90 * time.Second},
		0.25: {270 * time.Second, 90 * time.Second}, 0: {1, 0}, 1: {0, 1},
	} {
		cfg := Default(1)
		cfg.Full = full
		s := network(t, cfg).server(0)
		require.InDelta(t, float64(want[0]), float64(s.room.on), 10, "full %v", full)
		require.InDelta(t, float64(want[1]), float64(s.room.off), 10, "full %v", full)
	}
}

func TestServersComeAndGoAsMeasured(t *testing.T) {
	n := network(t, Default(1))
	away, left := 0, 0
	for i := range n.Servers() {
		s := n.server(i)
		before := s.present(0)
		if !before {
			away++
		}
		if before && s.presence.until < 24*time.Hour {
			left++
		}
	}
	require.InDelta(t, 43./(382+43), float64(away)/2000, 0.02)
	require.InDelta(t, 1-math.Exp(-24./382), float64(left)/float64(2000-away), 0.02)

	cfg := Default(1)
	cfg.Up = 0
	n = network(t, cfg)
	for i := range n.Servers() {
		require.True(t, n.server(i).present(10000*time.Hour))
	}
}

// Who answers what by UDP and by TCP.
func TestServersOfEachKindAnswer(t *testing.T) {
	cfg := Default(1)
	cfg.Up, cfg.Loss, cfg.Mute, cfg.Sybils, cfg.SybilsRefuse = 0, 0, 0.1, 0.2, time.Hour
	n := network(t, cfg)
	for i := range n.Len() {
		s := n.server(i)
		answer, room, late := s.ask(0), !s.dead && s.hasRoom(0), !s.dead && s.hasRoom(time.Hour)
		switch {
		case s.dead:
			require.Equal(t, Silence, answer)
			require.False(t, s.present(0))
		case s.mute:
			require.Equal(t, Silence, answer)
		case s.liar:
			require.Equal(t, Yes, answer)
			require.False(t, room)
		case s.sybil:
			require.Equal(t, Yes, answer)
			require.True(t, room)
			require.False(t, late, "they refuse by now")
			require.Equal(t, Yes, s.ask(time.Hour), "and still say yes")
		case room:
			require.Equal(t, Yes, answer)
		default:
			require.Equal(t, No, answer)
		}
	}
	cfg.NoUDP = true
	n = network(t, cfg)
	for i := range n.Len() {
		require.Equal(t, Silence, n.server(i).ask(0))
	}
}

func TestPacketsAreLost(t *testing.T) {
	cfg := Default(1)
	cfg.Up, cfg.Loss = 0, 0.1
	n := network(t, cfg)
	lost := 0
	for i := range n.Servers() {
		if n.server(i).ask(time.Minute) == Silence {
			lost++
		}
	}
	require.InDelta(t, 0.1, float64(lost)/2000, 0.02)
}

func TestAnswersAreThoseOfTheClass(t *testing.T) {
	cfg := Default(1)
	cfg.Sybils = 0.2
	n := network(t, cfg)
	for i := range 300 {
		s := n.server(i)
		var times Times
		failed := 0
		for second := range 500 {
			s.answers(time.Duration(second)*time.Second, 4, func(d time.Duration) {
				if d == lost {
					failed++
				} else {
					times.add(d - s.rtt)
				}
			})
		}
		class, median := cfg.Classes[s.class], times.Quantile(0.5)
		if s.sybil {
			require.InDelta(t, 2, median.Seconds(), 0.1)
			require.Zero(t, failed)
			continue
		}
		require.Greater(t, float64(median), 0.93*float64(class.ThinkMin))
		require.Less(t, float64(median), 1.07*float64(class.ThinkMax))
		require.InDelta(t, class.Failures, float64(failed)/2000, 0.03)
		require.Positive(t, s.rtt)
	}
}

// Servers end sessions after the time that their class keeps them.
func TestSessionsLastAsLongAsConfigured(t *testing.T) {
	cfg := Default(1)
	cfg.Up = 0
	n := network(t, cfg)
	sum, count := make([]time.Duration, 3), make([]time.Duration, 3)
	for i := range n.Servers() {
		s := n.server(i)
		sum[s.class] += s.sessionEnd(time.Hour) - time.Hour
		count[s.class]++
	}
	for k, class := range cfg.Classes {
		require.InDelta(t, class.Session.Hours(), (sum[k] / count[k]).Hours(), 0.2*class.Session.Hours(), class.Name)
	}
}

func TestServerLeavesInTheMiddleOfASession(t *testing.T) {
	n := network(t, Default(1))
	cut := 0
	for i := range n.Servers() {
		if s := n.server(i); s.present(0) && s.presence.until < s.evictions.after(0) {
			cut++
			require.Equal(t, s.presence.until, s.sessionEnd(0))
			require.False(t, s.present(s.presence.until))
		}
	}
	require.Positive(t, cut)
}

func TestAddresses(t *testing.T) {
	cfg := Default(1)
	cfg.Crowd = 190
	n := network(t, cfg)
	networks := make(map[string]int)
	for i := range n.Len() {
		node := n.Node(i)
		require.Equal(t, i, n.Index(node.ID()))
		require.NotNil(t, node.IP().To4())
		require.NotZero(t, node.TCP())
		require.NotZero(t, node.UDP())
		networks[string(node.IP().To4()[:3])]++
	}
	require.Equal(t, 190, networks[string(n.Node(0).IP().To4()[:3])])
	real := data().addresses
	require.Equal(t, real[0], n.Node(190).IP().To4())
	require.Len(t, networks, 1+139+n.Len()-190-len(real), "made up addresses are of different networks")
}

func TestRecordsSurviveEncoding(t *testing.T) {
	node := network(t, Default(1)).Node(5)
	again, err := enode.Parse(enode.ValidSchemesForTesting, node.String())
	require.NoError(t, err)
	require.Equal(t, node.ID(), again.ID())
}

func TestMeasuredData(t *testing.T) {
	m := data()
	require.Len(t, m.rtt, 12)
	for _, row := range m.rtt {
		require.Len(t, row, 160)
		for _, rtt := range row {
			require.Greater(t, rtt, 100*time.Microsecond)
			require.Less(t, rtt, 3*time.Second)
		}
	}
	require.Len(t, m.addresses, 191)
	for _, ip := range m.addresses {
		require.True(t, ip != nil && ip.IsGlobalUnicast() && !ip.IsPrivate(), "%v", ip)
	}
}

func TestNewRejects(t *testing.T) {
	for want, edit := range map[string]func(*Config){
		"Servers": func(c *Config) { c.Servers = 0 },
		"Full":    func(c *Config) { c.Full = 1.1 },
		"Liars":   func(c *Config) { c.Liars = math.NaN() },
		"Dead":    func(c *Config) { c.Dead = 1 },
		"Sybils":  func(c *Config) { c.Sybils = -0.1 },
		"Classes": func(c *Config) { c.Classes = c.Classes[:2] },
		"Spell":   func(c *Config) { c.Spell = 0 },
		"Down":    func(c *Config) { c.Down = 0 },
		"Crowd":   func(c *Config) { c.Crowd = 251 },
		"Latency": func(c *Config) { c.Latency = -1 },
	} {
		cfg := Default(1)
		edit(&cfg)
		_, err := New(cfg, new(testutil.Clock))
		require.ErrorContains(t, err, "Config."+want)
	}
}

func TestLatencyIsScaled(t *testing.T) {
	plain, cfg := network(t, Default(1)), Default(1)
	cfg.Latency = 2
	slow := network(t, cfg)
	for i := range 50 {
		require.InDelta(t, float64(2*plain.server(i).rtt), float64(slow.server(i).rtt), 2)
	}
}

// ---------------------------------------------------------------------------

func network(t *testing.T, cfg Config) *Network {
	t.Helper()
	n, err := New(cfg, new(testutil.Clock))
	require.NoError(t, err)
	return n
}
