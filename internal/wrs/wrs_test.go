package wrs

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestChoosesInProportionToWeight(t *testing.T) {
	s, weights := newTable(1)
	for item, w := range []uint64{1, 10, 100, 1000, 10_000} {
		weights[item] = w
		s.Update(item)
	}
	requireShares(t, s, weights, 200_000)
}

// A hundred items come, ninety go, the rest change: what is left has its share.
func TestSharesAfterManyChanges(t *testing.T) {
	s, weights := newTable(2)
	for item := range 100 {
		weights[item] = uint64(item*item + 1)
		s.Update(item)
	}
	for item := range 90 {
		s.Remove(item)
		delete(weights, item)
	}
	for item := 90; item < 100; item++ {
		weights[item] = uint64(100 - item)
		s.Update(item)
	}
	requireShares(t, s, weights, 200_000)
}

// Nobody announces that a weight fell from 1000 to 100: the item is nevertheless
// chosen as if it had been announced, from the first draw on.
func TestFallenWeightCountsFromTheNextDraw(t *testing.T) {
	const rounds = 40_000
	chosen := 0
	for round := range uint64(rounds) {
		s, weights := newTable(round)
		weights[1], weights[2] = 1000, 100
		s.Update(1)
		s.Update(2)
		weights[1] = 100
		if item, ok := s.Choose(); ok && item == 1 {
			chosen++
		}
	}
	// 10/11 of the draws hit item 1 and a tenth of these stand; of the rest,
	// another draw among equals gives it half.
	require.InDelta(t, 0.5, float64(chosen)/rounds, 0.02)
}

func TestRaisedWeightNeedsUpdate(t *testing.T) {
	s, weights := newTable(3)
	weights[1], weights[2] = 1, math.MaxUint32
	s.Update(1)
	s.Update(2)
	weights[1] = math.MaxUint32
	require.Less(t, count(s, 1, 1000), 10)
	s.Update(1)
	require.InDelta(t, 500, count(s, 1, 1000), 100)
}

func TestWeightZeroRemoves(t *testing.T) {
	s, weights := newTable(4)
	weights[1], weights[2] = 1, 1
	s.Update(1)
	s.Update(2)
	weights[1] = 0
	s.Update(1)
	require.Equal(t, 1, s.Len())

	weights[2] = 0
	_, ok := s.Choose()
	require.False(t, ok, "the last weight fell to 0 without Update")
	require.True(t, s.IsEmpty())
}

func TestTotalSaturates(t *testing.T) {
	s, weights := newTable(5)
	weights[1], weights[2], weights[3] = 1<<62, math.MaxUint64, 5
	for item := 1; item <= 3; item++ {
		s.Update(item)
	}
	require.Equal(t, uint64(maxTotal), s.total)
	require.Equal(t, 2, s.Len(), "no room is left for the third")
	require.InDelta(t, 500, count(s, 1, 1000), 100)

	s.Remove(1)
	s.Update(3)
	require.Equal(t, 2, s.Len(), "there is room again")
	require.LessOrEqual(t, s.total, uint64(maxTotal))
}

func TestMemoryShrinks(t *testing.T) {
	s, weights := newTable(6)
	const n = 100_000
	for item := range n {
		weights[item] = 1
		s.Update(item)
	}
	for item := range n {
		s.Remove(item)
		require.LessOrEqual(t, cap(s.entries), max(minCapacity, 4*(s.Len()+1)))
		require.LessOrEqual(t, cap(s.tree), max(2*minCapacity, 8*(s.Len()+1)))
	}
	require.True(t, s.IsEmpty())
	require.Zero(t, s.total)
}

func TestSameSeedSameChoices(t *testing.T) {
	trace := func() (chosen []int) {
		s, weights := newTable(7)
		for i := range 10_000 {
			item := i * 7919 % 331
			weights[item] = uint64(i*31%17) * uint64(item)
			s.Update(item)
			if i%5 == 0 {
				s.Remove(i % 331)
			}
			c, _ := s.Choose()
			chosen = append(chosen, c)
		}
		return chosen
	}
	require.Equal(t, trace(), trace())
}

// Whatever is called, the set is what a map of weights says it is, and each
// item's share of the number line is exactly its weight.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := make(map[int]uint64)
		s := New(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), func(i int) uint64 { return weights[i] })
		model := make(map[int]uint64)
		var total uint64
		items := rapid.IntRange(0, 40)
		value := rapid.OneOf(rapid.Uint64Range(0, 20), rapid.Just(uint64(math.MaxUint64)), rapid.Just(uint64(1)<<62))
		t.Repeat(map[string]func(*rapid.T){
			"update": func(t *rapid.T) {
				item := items.Draw(t, "item")
				weights[item] = value.Draw(t, "weight")
				s.Update(item)
				total -= model[item]
				model[item] = min(weights[item], maxTotal-total)
				total += model[item]
				if model[item] == 0 {
					delete(model, item)
				}
			},
			"remove": func(t *rapid.T) {
				item := items.Draw(t, "item")
				s.Remove(item)
				total -= model[item]
				delete(model, item)
			},
			"fall and choose": func(t *rapid.T) {
				item := items.Draw(t, "item")
				weights[item] /= 2
				chosen, ok := s.Choose()
				// Choose may have found any fallen weight: the model takes over
				// what it remembers now, if that is a value it could have read.
				for known, old := range model {
					now, in := s.remembered(known)
					if now == old {
						continue
					}
					require.Equal(t, weights[known], now)
					require.Less(t, now, old)
					require.Equal(t, now > 0, in)
					total -= old - now
					if model[known] = now; !in {
						delete(model, known)
					}
				}
				require.Equal(t, len(model) > 0, ok)
				if ok {
					require.Contains(t, model, chosen)
				}
			},
			"": func(t *rapid.T) { requireConsistent(t, s, model, total) },
		})
	})
}

func BenchmarkChoose(b *testing.B) {
	s, weights := newTable(8)
	for item := range 1000 {
		weights[item] = uint64(item + 1)
		s.Update(item)
	}
	for b.Loop() {
		s.Choose()
	}
}

func BenchmarkUpdate(b *testing.B) {
	weights := make([]uint64, 1000)
	s := New(rand.New(rand.NewPCG(8, 0)), func(i int) uint64 { return weights[i] })
	for i := 0; b.Loop(); i++ {
		weights[i%1000] = uint64(i%977 + 1)
		s.Update(i % 1000)
	}
}

// ---------------------------------------------------------------------------

func newTable(seed uint64) (*Select[int], map[int]uint64) {
	weights := make(map[int]uint64)
	return New(rand.New(rand.NewPCG(seed, 0)), func(i int) uint64 { return weights[i] }), weights
}

func (s *Select[T]) remembered(item T) (uint64, bool) {
	i, ok := s.index[item]
	if !ok {
		return 0, false
	}
	return s.entries[i].weight, true
}

func count(s *Select[int], item, draws int) (hits int) {
	for range draws {
		if chosen, ok := s.Choose(); ok && chosen == item {
			hits++
		}
	}
	return hits
}

// requireShares draws often and allows five standard deviations.
func requireShares(t *testing.T, s *Select[int], weights map[int]uint64, draws int) {
	t.Helper()
	hits := make(map[int]int)
	for range draws {
		item, ok := s.Choose()
		require.True(t, ok)
		hits[item]++
	}
	var total float64
	for _, w := range weights {
		total += float64(w)
	}
	for item, w := range weights {
		p := float64(w) / total
		sigma := math.Sqrt(float64(draws) * p * (1 - p))
		require.InDelta(t, p*float64(draws), hits[item], 5*sigma+1, "item %d", item)
	}
	require.LessOrEqual(t, len(hits), len(weights))
}

func requireConsistent(t *rapid.T, s *Select[int], model map[int]uint64, total uint64) {
	require.Equal(t, len(model), s.Len())
	require.Equal(t, len(model) == 0, s.IsEmpty())
	require.Equal(t, total, s.total)
	require.LessOrEqual(t, total, uint64(maxTotal))
	var start uint64
	for i, e := range s.entries {
		require.Equal(t, i, s.index[e.item])
		require.Equal(t, model[e.item], e.weight)
		first, offset := s.find(start)
		require.Equal(t, [2]uint64{uint64(i), 0}, [2]uint64{uint64(first), offset})
		last, offset := s.find(start + e.weight - 1)
		require.Equal(t, [2]uint64{uint64(i), e.weight - 1}, [2]uint64{uint64(last), offset})
		start += e.weight
	}
}
