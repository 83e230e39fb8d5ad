package serverpool

import (
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// queryLimit adapts how many queries are under way at once: one more for every
// candidate that is lost (it said no or stayed silent), half as many for every
// one that says yes, whether that is taken or not. So with few full servers
// few are asked in vain, and with many no time is lost. It is AIMD as in TCP
// congestion control, with "no room" in the role of "no congestion".
type queryLimit struct{ n int }

const (
	// minQueries is how many there are at least, and at most to replace a server or
	// when one is missing of which the pool has had enough before. More finds one
	// sooner, less asks fewer whose answer comes when it is found.
	minQueries = 3
	// maxQueries bounds the burst of packets that a query round sends.
	maxQueries = 32
)

func (l *queryLimit) lost()      { l.n = min(l.limit()+1, maxQueries) }
func (l *queryLimit) found()     { l.n = max(l.limit()/2, minQueries) }
func (l *queryLimit) limit() int { return max(l.n, minQueries) }

// tokenBucket bounds the rate of queries. It counts in time, which is exact:
// each token taken makes the bucket full one interval later, and there is no
// token while that is more than a burst away. (The generic cell rate algorithm.)
type tokenBucket struct {
	interval time.Duration  // in which one token flows in; 0: no bound
	slack    time.Duration  // in which all but one do
	full     mclock.AbsTime // when the bucket is full again
}

// maxTokenWait is the longest interval.
const maxTokenWait = 24 * time.Hour

// newTokenBucket returns a full bucket. A rate, in tokens per second, of zero
// or less is no bound.
func newTokenBucket(rate float64, burst int) tokenBucket {
	if !(rate > 0) {
		return tokenBucket{}
	}
	interval := min(float64(time.Second)/rate, float64(maxTokenWait))
	slack := min(interval*float64(max(burst, 1)-1), math.MaxInt64/4)
	return tokenBucket{interval: time.Duration(interval), slack: time.Duration(slack)}
}

// wait returns how long it takes until there is a token.
func (b *tokenBucket) wait(now mclock.AbsTime) time.Duration {
	return max(b.full.Sub(now)-b.slack, 0)
}

// delay has no token before d has passed.
func (b *tokenBucket) delay(now mclock.AbsTime, d time.Duration) {
	b.full = max(b.full, now.Add(d+b.slack))
}

// take uses a token, going into debt if there is none.
func (b *tokenBucket) take(now mclock.AbsTime) {
	b.full = max(b.full, now).Add(b.interval)
}
