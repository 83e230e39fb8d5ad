package serverpool

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/lespay"
)

// Which servers are replaced: stories of a pool of five and a supply of servers
// that give what a draw says, and properties for all inputs.

// tallyOf is a tally of answers around a mean score.
func tallyOf(mean float64, answers float64) tally {
	const spread = 0.1
	return tally{answers, mean * answers, (mean*mean + spread*spread) * answers}
}

// market is a chooser with five slots that are filled with what draw gives.
type market struct {
	chooser
	now   mclock.AbsTime
	draw  func() float64
	seats [5]seated       // before the first answer the sum holds the mean
	drops []time.Duration // when
}

func newMarket(draw func() float64) *market {
	m := &market{draw: draw}
	for i := range m.seats {
		m.seats[i] = seated{tally: tally{sum: draw()}}
	}
	return m
}

// run lets time pass, with four answers a second from every server. Sessions end
// by themselves after some hours.
func (m *market) run(d time.Duration, rnd *rand.Rand) {
	const step = 5 * time.Second
	for end := m.now.Add(d); m.now < end; m.now = m.now.Add(step) {
		for i := range m.seats {
			s := &m.seats[i]
			mean := s.sum
			if s.answers > 0 {
				mean = s.mean()
			}
			s.tally = tallyOf(mean, s.answers+4*step.Seconds())
			if rnd.Float64() < step.Seconds()/(4*3600) {
				m.next(i, false)
			}
		}
		if i := m.worst(m.now, m.seats[:]); i >= 0 {
			m.drop(m.now)
			m.drops = append(m.drops, time.Duration(m.now))
			m.next(i, true)
		}
	}
}

func (m *market) next(i int, byUs bool) {
	s := &m.seats[i]
	m.ended(s.tally, m.now.Sub(s.since), byUs)
	*s = seated{tally: tally{sum: m.draw()}, since: m.now}
}

func (m *market) mean() (mean float64) {
	for _, s := range m.seats {
		mean += s.mean() / float64(len(m.seats))
	}
	return mean
}

func TestChooserFindsTheGoodOnes(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		m := newMarket(func() float64 {
			switch x := rnd.Float64(); {
			case x < 0.1:
				return 0.3
			case x < 0.6:
				return 0
			}
			return -0.4
		})
		m.run(6*time.Hour, rnd)
		var sum float64
		for range 100 {
			m.run(time.Minute, rnd)
			sum += m.mean() / 100
		}
		require.Greater(t, sum, 0.2, "seed %d", seed)
	}
}

// Where all are alike there is nothing to be gained, and that is soon known.
func TestChooserLeavesEqualServersAlone(t *testing.T) {
	for seed := range uint64(3) {
		for _, what := range []float64{-0.5, 0, 0.5, 0.9} {
			rnd := rand.New(rand.NewPCG(seed, 2))
			m := newMarket(func() float64 { return what + 0.02*(rnd.Float64()-0.5) })
			m.run(24*time.Hour, rnd)
			require.Less(t, len(m.drops), 90, "all give about %v", what)
			late := 0
			for _, at := range m.drops {
				if at > 12*time.Hour {
					late++
				}
			}
			require.LessOrEqual(t, late, 5, "in the second half of the day")
		}
	}
}

// When nearly all are bad those that are not are kept.
func TestChooserKeepsWhatIsRare(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	m := newMarket(func() float64 {
		if rnd.Float64() < 0.9 {
			return -0.5
		}
		return 0
	})
	m.run(3*time.Hour, rnd)
	require.Greater(t, m.mean(), -0.11)
}

// A server that becomes worse is noticed though it was good for long.
func TestTallyForgets(t *testing.T) {
	var bad, good lespay.RtDistribution
	bad[25][1], good[5][1] = 20, 20
	var s tally
	for range 5 * 720 {
		s.decay(5 * time.Second)
		s.add(good)
	}
	require.InDelta(t, score(5, 32), s.mean(), 1e-9)
	for range 2 * 120 {
		s.decay(5 * time.Second)
		s.add(bad)
	}
	require.InDelta(t, score(25, 32), s.mean(), 0.2, "after 20 minutes")
	s.decay(time.Hour)
	require.False(t, s.enough(), "evidence grows old")
}

func TestScoreFallsFromOneToMinusOne(t *testing.T) {
	require.Equal(t, 1.0, score(0, 32))
	require.Equal(t, -1.0, score(31, 32))
	for i := range 31 {
		require.Greater(t, score(i, 32), score(i+1, 32))
	}
}

func TestWhoIsNotReplaced(t *testing.T) {
	var c chooser
	for range 30 {
		c.note(tallyOf(0.5, 1000))
	}
	now := mclock.AbsTime(time.Hour)
	bad := seated{tally: tallyOf(-0.5, 1000)}
	require.Equal(t, 1, c.worst(now, []seated{{tally: tallyOf(-0.3, 1000)}, bad}), "the worst one")
	trusted, fresh, idle := bad, bad, bad
	trusted.stays = true
	fresh.since = now.Add(-minTrial + 1)
	idle.tally = tallyOf(-0.5, minAnswers-1)
	require.Equal(t, -1, c.worst(now, []seated{trusted, fresh, idle}))
	good := seated{tally: tallyOf(0.5, 1000)}
	require.Equal(t, -1, c.worst(now, []seated{good, good}))
	require.Equal(t, -1, c.worst(now, nil))
	c.drop(now)
	require.Equal(t, -1, c.worst(now.Add(dropPause-1), []seated{bad}), "too soon after another")
	require.Equal(t, 0, c.worst(now.Add(dropPause), []seated{bad}))
}

// With nothing tried and nothing known nobody is replaced.
func TestChooserKnowsNothingAtFirst(t *testing.T) {
	var c chooser
	require.Equal(t, -1.0, c.aspiration(nil))
	require.Equal(t, -1, c.worst(mclock.AbsTime(time.Hour), []seated{{}, {}}))
}

func TestChooserIsSaneForAllInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c chooser
		anyTally := func() tally {
			return tallyOf(rapid.Float64Range(-1, 1).Draw(t, "mean"), rapid.Float64Range(0, 1e9).Draw(t, "answers"))
		}
		anyTime := func(name string) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, name))
		}
		highest := -1.0
		for range rapid.IntRange(0, 100).Draw(t, "sessions") {
			s := anyTally()
			if s.enough() {
				highest = max(highest, s.mean())
			}
			c.ended(s, anyTime("lasted"), rapid.Bool().Draw(t, "by us"))
		}
		now := mclock.AbsTime(anyTime("now"))
		seats := make([]seated, rapid.IntRange(0, 8).Draw(t, "seats"))
		for i := range seats {
			seats[i] = seated{anyTally(), now.Add(-anyTime("age")), rapid.Bool().Draw(t, "stays")}
			if seats[i].enough() {
				highest = max(highest, seats[i].mean())
			}
		}
		a := c.aspiration(seats)
		if !(a >= -1 && a <= 1) {
			t.Fatalf("aspiration %v", a)
		}
		if c.session() <= 0 || c.trial() <= 0 || c.trial() > c.session() {
			t.Fatalf("session %v, trial %v", c.session(), c.trial())
		}
		i := c.worst(now, seats)
		if i < 0 {
			return
		}
		if s := seats[i]; s.stays || !s.enough() || s.upper() >= a || math.IsNaN(s.upper()) {
			t.Fatalf("replaces %+v, aspiration %v", s, a)
		}
	})
}

// The bound is above the mean, and comes closer with every answer.
func TestBoundComesCloser(t *testing.T) {
	last := math.Inf(1)
	for _, n := range []float64{10, 30, 100, 300, 1000, 1e4, 1e6} {
		u := tallyOf(0.2, n).upper()
		require.Greater(t, u, 0.2)
		require.Less(t, u, last)
		last = u
	}
	require.Less(t, last, 0.201)
}
