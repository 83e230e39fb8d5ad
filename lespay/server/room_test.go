package server

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ten members with 1, 2, … 10 times 10^11 tokens hold 10^6 each, all there is, and
// somebody who is not one of them asks what it could have.
func TestCapacityCurveOfTenMembers(t *testing.T) {
	for _, c := range []struct {
		maxCount uint64
		want     map[uint64]uint64
	}{
		{10, map[uint64]uint64{
			0: 0, 1e10: 1e5, 5e10: 5e5, 1e11: 1e6, 2e11: 1e6, 3e11: 15e5, 45e10: 15e5, 6e11: 2e6, 8e11: 2e6, 1e12: 25e5,
		}},
		{11, map[uint64]uint64{
			0: 0, 1e10: 1e5, 5e10: 5e5, 15e10: 75e4, 2e11: 1e6, 22e10: 11e5, 275e9: 11e5, 375e9: 15e5, 45e10: 15e5,
			6e11: 2e6, 8e11: 2e6, 1e12: 25e5,
		}},
	} {
		k := newMarket(400000, 2)
		k.setLimits(c.maxCount, 1e7)
		for i := range uint64(10) {
			m := &member{seq: i}
			k.enter(m, worth{pos: (i + 1) * 1e11})
			k.resize(m, 1e6)
		}
		for pos, want := range c.want {
			bid := worth{pos: pos}.priority
			var got uint64
			if k.count < k.maxCount {
				got = k.reach(int64(k.free()), bid)
			} else {
				got = k.reachFrom(k.steps.firstLast().owner, bid)
			}
			if want == 0 {
				require.Zero(t, got, "%d slots, %d tokens", c.maxCount, pos)
				continue
			}
			require.NotZero(t, got)
			expected := pos / want
			require.Contains(t, []uint64{expected, expected + 1}, pos/got, "%d slots, %d tokens: %d", c.maxCount, pos, got)
		}
	}
}

// A hundred members who keep raising by one percent share the capacity in
// proportion to their tokens. What the curve says is granted, and not 10 more.
func TestRaisesConvergeToShares(t *testing.T) {
	k := newMarket(100, 100)
	k.setLimits(100, 1e6)
	members := make([]*member, 100)
	var sum uint64
	for i := range members {
		members[i] = &member{seq: uint64(i)}
		pos := uint64(1e8 + (i*7919%100)*1e7)
		sum += pos
		k.enter(members[i], worth{pos: pos})
	}
	for _, m := range members {
		k.resize(m, 8000) // saves some hundred rounds
	}
	for round := range 8000 {
		m := members[round*31%100]
		if want := m.capacity + m.capacity/100; want <= k.most(m, m.worth.priority, false) {
			k.resize(m, want)
		}
	}
	for _, m := range members {
		fair := 1e6 * float64(m.worth.pos) / float64(sum)
		require.InEpsilon(t, fair, float64(m.capacity), 0.1)
		k.resize(m, k.most(m, m.worth.priority, false))
		require.LessOrEqual(t, k.capacity, k.maxCap)
	}
}

func TestMostInAnEmptyMarket(t *testing.T) {
	k := newMarket(100, 4)
	anybody := func(uint64) int64 { return math.MinInt64 }
	require.Zero(t, k.most(nil, anybody, false), "no limits set")
	k.setLimits(10, 1000)
	require.EqualValues(t, 1000, k.most(nil, anybody, false))
	k.setLimits(0, 1000)
	require.Zero(t, k.most(nil, anybody, false), "no slots, whatever is free")
	k.setLimits(10, 99)
	require.Zero(t, k.most(nil, anybody, false))
	k.setLimits(math.MaxUint64, math.MaxUint64)
	require.Equal(t, uint64(maxCapacity), k.most(nil, anybody, false), "no sum overflows")
}

// A slot is paid for at the smallest capacity, which its owner could have been
// content with: a member with much capacity and few tokens for it isn't driven out
// by somebody it would drive out in turn.
func TestSlotIsComparedAtSmallestCapacity(t *testing.T) {
	k := newMarket(100, 4)
	k.setLimits(2, 10000)
	large, small := &member{seq: 1}, &member{seq: 2}
	k.enter(large, worth{pos: 5000})
	k.resize(large, 5000)
	k.enter(small, worth{pos: 100000})
	newcomer := worth{pos: 4000}
	require.Less(t, large.worth.priority(5000), newcomer.priority(100))
	require.False(t, k.admits(newcomer.priority))
	require.Zero(t, k.most(nil, newcomer.priority, false))
	require.True(t, k.admits(worth{pos: 6000}.priority))
}

// The slot comes from who is worth least with the smallest capacity, which need not
// be whose capacity is cheapest.
func TestSlotComesFromTheWeakest(t *testing.T) {
	k := newMarket(100, 4)
	k.setLimits(2, 10000)
	large, small := &member{seq: 1}, &member{seq: 2}
	k.enter(large, worth{pos: 50000})
	k.resize(large, 5000)
	k.enter(small, worth{pos: 20000})
	newcomer := &member{seq: 3}
	require.True(t, k.admits(worth{pos: 30000}.priority))
	k.enter(newcomer, worth{pos: 30000})
	require.EqualValues(t, 5000, large.capacity)
	require.Zero(t, small.capacity)
	require.EqualValues(t, 100, newcomer.capacity)
}
