package serverpool

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What answers are worth.

func TestTrustGoesWithWhatWasKept(t *testing.T) {
	var s strangers
	var c conduct
	first := c.trust(&s)
	require.Equal(t, s.trust(), first, "a stranger is trusted like strangers are")
	for range 3 {
		before := c.trust(&s)
		c.hear(Yes)
		require.True(t, c.outcome(false))
		require.Less(t, c.trust(&s), before, "a broken promise")
	}
	require.Less(t, c.trust(&s), 0.2)
	for range 3 {
		before := c.trust(&s)
		c.hear(Yes)
		require.True(t, c.outcome(true))
		require.Greater(t, c.trust(&s), before, "a kept one")
	}
	require.False(t, c.outcome(false), "nothing was promised")
	c.hear(Yes)
	c.hear(No)
	require.False(t, c.outcome(false), "taken back")
}

// Who says no now and then is believed more.
func TestSayingNoMakesAYesWorthMore(t *testing.T) {
	var s strangers
	var c conduct
	for range 10 {
		s.outcome(false)
	}
	before := c.trust(&s)
	c.hear(No)
	require.Greater(t, c.trust(&s), max(before, barReplace))
}

func TestStrangersOutcomesFade(t *testing.T) {
	var s strangers
	for range 1000 {
		s.outcome(false)
	}
	require.Less(t, s.trust(), 0.1)
	for range 2 * maxStrangers {
		s.outcome(true)
	}
	require.Greater(t, s.trust(), 0.7)
}

func TestBarRisesWithTheTimeThereIs(t *testing.T) {
	s := &strangers{broken: 3}
	long := demand{idle: patient, missing: 1}
	many := demand{missing: 3}
	one := demand{missing: 1}
	calm := demand{replace: true}
	require.Zero(t, long.bar(s))
	require.Less(t, long.bar(s), many.bar(s))
	require.Less(t, many.bar(s), one.bar(s))
	require.Less(t, one.bar(s), calm.bar(s))
	require.Equal(t, many.bar(s), demand{missing: 1, since: choosy}.bar(s))
	require.Equal(t, many.bar(s), demand{missing: 1, hurry: true}.bar(s))
	var stranger conduct
	require.GreaterOrEqual(t, stranger.trust(s), many.bar(s))
}

func TestPathIsDeadWhenNobodyAnswers(t *testing.T) {
	var p path
	now := mclock.AbsTime(0)
	for range deadPathAfter {
		require.True(t, p.ask(now))
		p.hear(Silent, now)
	}
	require.True(t, p.ask(now.Add(probePath)), "a probe")
	require.False(t, p.ask(now.Add(probePath)), "one at a time")
	require.True(t, p.ask(now.Add(2*probePath)))
	p.hear(No, now.Add(2*probePath))
	require.False(t, p.isDead)
	for range 3 * deadPathAfter {
		p.hear(Silent, now.Add(2*probePath))
	}
	require.False(t, p.isDead, "an answer proves the path for a while")
	p.hear(Silent, now.Add(2*probePath+answerProves))
	require.True(t, p.isDead)
}

func TestOwnNetworkIsDownWhenNothingReacts(t *testing.T) {
	var o ownNetwork
	for range downAfter {
		require.False(t, o.down(0))
		o.nothing()
	}
	require.True(t, o.down(0))
	require.False(t, o.down(1), "a connection proves it")
	o.reacted()
	require.False(t, o.down(0))
}

func TestConductIsSaneForAllInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s strangers
		var c conduct
		for range rapid.IntRange(0, 600).Draw(t, "events") {
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				c.hear(Yes)
			case 1:
				c.hear(No)
			case 2:
				c.hear(Silent)
			case 3:
				s.outcome(c.outcome(true))
			case 4:
				s.outcome(!c.outcome(false))
			}
		}
		for _, x := range []float64{c.trust(&s), s.trust()} {
			if !(x >= 0 && x <= 1) {
				t.Fatalf("trust %v of %+v, %+v", x, c, s)
			}
		}
		value, err := rlp.EncodeToBytes(conductKind.encode(c))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeConduct(value, moment{})
		c.promised = false
		if err != nil || got != c {
			t.Fatalf("%+v came back as %+v, %v", c, got, err)
		}
	})
}

func FuzzConduct(f *testing.F) {
	value, err := rlp.EncodeToBytes(conductKind.encode(conduct{answered: true, no: 3, kept: 1, at: 1e9}))
	require.NoError(f, err)
	f.Add(value)
	f.Add([]byte{0xc0})
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := decodeConduct(value, moment{})
		if err != nil {
			return
		}
		again, err := rlp.EncodeToBytes(conductKind.encode(c))
		require.NoError(t, err)
		require.Equal(t, value, again)
	})
}

func TestPatienceFollowsTheNetwork(t *testing.T) {
	var p patience
	for range fewDials {
		require.Zero(t, p.limit(), "too little is known")
		p.connected(100 * time.Millisecond)
	}
	require.Equal(t, minPatience, p.limit())
	for i := range 200 {
		p.connected(time.Duration(1+i%2) * time.Second)
	}
	require.Greater(t, p.limit(), 4*time.Second, "slow and uneven")
	for range 200 {
		p.connected(time.Second)
	}
	require.Equal(t, minPatience, p.limit(), "slow but even")
}
