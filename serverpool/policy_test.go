package serverpool

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// The pure policies: for all inputs, and against models.

// anyFloat draws usual and unusual numbers.
func anyFloat(t *rapid.T, name string) float64 {
	return rapid.OneOf(
		rapid.Float64(), rapid.Float64Range(0, 1e6),
		rapid.SampledFrom([]float64{0, 1, math.Inf(1), math.NaN(), math.MaxFloat64, 5e-324}),
	).Draw(t, name)
}

func TestNextWaitIsSaneForAllInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(-1<<40, 1<<61).Draw(t, "start")
		h := history{waitStart: start, waitEnd: start + rapid.Int64Range(0, 1<<61).Draw(t, "planned")}
		s := newService(anyFloat(t, "total"), anyFloat(t, "session"), anyFloat(t, "cost"))
		step := rapid.SampledFrom([]float64{dialStep, queryStep}).Draw(t, "step")
		now := rapid.Int64Range(-1<<40, 1<<61).Draw(t, "now")
		if w := h.nextWait(now, step, s); w < minRedialWait || w > math.MaxInt32 {
			t.Fatalf("next wait %d", w)
		}
		if left := h.remaining(now); left < 0 || left > maxKnownWait*time.Second {
			t.Fatalf("remaining %v", left)
		}
		if w := s.weight(); w > math.MaxInt32 {
			t.Fatalf("weight %d", w)
		}
	})
}

func TestEveryStepGrowsTheWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		planned := rapid.Int64Range(minRedialWait, maxKnownWait).Draw(t, "planned")
		late := rapid.Int64Range(0, 1e6).Draw(t, "late")
		step := rapid.SampledFrom([]float64{dialStep, queryStep}).Draw(t, "step")
		h := history{waitStart: 1000, waitEnd: 1000 + planned}
		next := h.nextWait(h.waitEnd+late, step, newService(0, 0, 0))
		if next <= planned || float64(next) > float64(planned)*step+1 {
			t.Fatalf("%d after %d", next, planned)
		}
		early := h.nextWait(h.waitStart+planned/10, step, newService(0, 0, 0))
		if early != planned {
			t.Fatalf("%d after a tenth of %d: waits that were cut short do not grow", early, planned)
		}
		good := h.nextWait(h.waitEnd, step, newService(100, 100, 0))
		if good != minRedialWait {
			t.Fatalf("%d after a session that gave everything", good)
		}
	})
}

// The bucket against a model that counts in whole ticks of a millisecond.
func TestTokenBucketAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 100).Draw(t, "rate"), rapid.IntRange(1, 50).Draw(t, "burst")
		b := newTokenBucket(float64(rate), burst)
		now, thousandths := mclock.AbsTime(5*time.Hour), burst*1000 // of a token
		for range 100 {
			ms := rapid.IntRange(0, 300).Draw(t, "ms")
			now = now.Add(time.Duration(ms) * time.Millisecond)
			thousandths = min(thousandths+ms*rate, burst*1000)
			wait := b.wait(now)
			need := max(1000-thousandths, 0)
			want := time.Duration(need) * time.Millisecond / time.Duration(rate)
			if d := wait - want; d < -time.Microsecond || d > time.Microsecond {
				t.Fatalf("wait %v, want %v", wait, want)
			}
			if rapid.Bool().Draw(t, "take") {
				b.take(now)
				thousandths -= 1000
			}
		}
		later := now.Add(b.wait(now))
		if b.wait(later) != 0 {
			t.Fatalf("waiting as long as told is not enough")
		}
	})
}

func TestTokenBucketAtItsEnds(t *testing.T) {
	off := newTokenBucket(-1, 5)
	for range 1000 {
		off.take(0)
	}
	require.Zero(t, off.wait(0))
	slow := newTokenBucket(1e-300, 1)
	slow.take(0)
	require.Equal(t, maxTokenWait, slow.wait(0))
	fast := newTokenBucket(math.MaxFloat64, 1)
	fast.take(0)
	require.Zero(t, fast.wait(mclock.AbsTime(math.MaxInt64)))
	back := newTokenBucket(1, 1)
	back.take(mclock.AbsTime(10 * time.Second))
	require.NotZero(t, back.wait(mclock.AbsTime(time.Second)))
	require.NotZero(t, back.wait(mclock.AbsTime(10*time.Second)), "no second is counted twice")
}

func TestQueryLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l queryLimit
		model := 3
		for range 200 {
			if rapid.IntRange(0, 9).Draw(t, "what") > 0 {
				l.lost()
				model = min(model+1, 32)
			} else {
				l.found()
				model = max(model/2, 3)
			}
			if l.limit() != model {
				t.Fatalf("limit %d, want %d", l.limit(), model)
			}
		}
	})
}

// The memory against a model: a list, the latest last; and what the store says
// after every write.
func TestMemoryAgainstModel(t *testing.T) {
	type entry struct {
		id       enode.ID
		h        history
		endpoint string
		seq      uint64
	}
	var nodes [12][3][2]*enode.Node // by number, sequence number and address
	for i := range nodes {
		for seq := range nodes[i] {
			for ip := range nodes[i][seq] {
				nodes[i][seq][ip] = testutil.Node(uint64(i), uint64(seq), fmt.Sprintf("11.0.0.%d", ip+1))
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 8).Draw(t, "size")
		m, model := newMemory(nil, size), []entry(nil)
		db := testutil.NewFaultyStore()
		find := func(id enode.ID) int {
			for i, e := range model {
				if e.id == id {
					return i
				}
			}
			return -1
		}
		drop := func(i int) { model = append(model[:i:i], model[i+1:]...) }
		for step := range 60 {
			n := nodes[rapid.IntRange(0, 11).Draw(t, "node")][rapid.IntRange(0, 2).Draw(t, "seq")][rapid.IntRange(0, 1).Draw(t, "ip")]
			id, seq := n.ID(), n.Seq()
			i := find(id)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				m.remove(id)
				if i >= 0 {
					drop(i)
				}
			case 1:
				if err := writeChanges(db, m.takeDirty()); err != nil {
					t.Fatal(err)
				}
				// As after a restart.
				loaded := newMemory(nil, size)
				bad, err := loaded.load(db, moment{})
				if bad != 0 || err != nil || loaded.len() != len(model) {
					t.Fatalf("%d loaded (%d bad, %v), want %d", loaded.len(), bad, err, len(model))
				}
				m = loaded
			default:
				e := entry{id, history{waitStart: int64(step), waitEnd: int64(step) + 10}, endpointOf(n), seq}
				if i >= 0 {
					if model[i].seq > seq {
						e.endpoint, e.seq = model[i].endpoint, model[i].seq
					}
					drop(i)
				}
				if model = append(model, e); len(model) > size {
					drop(0)
				}
				m.remember(n, e.h)
			}
			h, ok := m.historyOf(n)
			i = find(id)
			want := i >= 0 && (model[i].endpoint == endpointOf(n) || seq <= model[i].seq && (seq != 0 || model[i].seq != 0))
			if ok != want {
				t.Fatalf("get: %v, want %v", ok, want)
			}
			if m.moved(n) != (i >= 0 && !want) {
				t.Fatalf("moved: %v", m.moved(n))
			}
			if ok && (h.waitStart != model[i].h.waitStart || h.waitEnd != model[i].h.waitEnd) {
				t.Fatalf("got %v, want %v", h, model[i].h)
			}
		}
	})
}

func TestRecommendTimeoutWithoutExperience(t *testing.T) {
	timeout, weights := recommendTimeout(lespay.ResponseTimeStats{}, lespay.ExpirationFactor{})
	require.InDelta(t, 4, timeout.Seconds(), 0.3)
	require.Equal(t, lespay.TimeoutWeights(timeout), weights)
}
