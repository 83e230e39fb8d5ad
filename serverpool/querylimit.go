package serverpool

import (
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// queryLimit adapts how many queries are under way at once: one more for every
// candidate that is lost (it said no, stayed silent, or was not taken in
// time), half as many for every one that says yes. So with few full servers
// few are asked in vain, and with many no time is lost. It is AIMD as in TCP
// congestion control, with "no room" in the role of "no congestion".
type queryLimit struct{ n int }

const (
	minQueries = 3
	// maxQueries bounds the burst of packets that a query round sends.
	maxQueries = 32
)

func (l *queryLimit) lost()      { l.n = min(l.limit()+1, maxQueries) }
func (l *queryLimit) found()     { l.n = max(l.limit()/2, minQueries) }
func (l *queryLimit) limit() int { return max(l.n, minQueries) }

// tokenBucket bounds the rate of queries. A rate of zero or less is no bound.
type tokenBucket struct {
	rate   float64 // tokens a second
	burst  float64
	tokens float64
	filled mclock.AbsTime
	used   bool
}

func newTokenBucket(rate float64, burst int) tokenBucket {
	return tokenBucket{rate: rate, burst: float64(max(burst, 1))}
}

func (b *tokenBucket) fill(now mclock.AbsTime) {
	if !b.used {
		b.used, b.tokens, b.filled = true, b.burst, now
	} else if now > b.filled {
		b.tokens = min(b.burst, b.tokens+b.rate*now.Sub(b.filled).Seconds())
		b.filled = now
	}
}

// maxTokenWait bounds a wait, after which one asks again.
const maxTokenWait = time.Hour

// wait returns how long it takes until there is a token, at most an hour.
func (b *tokenBucket) wait(now mclock.AbsTime) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	if b.fill(now); b.tokens >= 1 {
		return 0
	}
	// Rounded up, so that waiting this long is enough, unless it is very long.
	wait := (1 - b.tokens) / b.rate * float64(time.Second)
	return time.Duration(min(wait, float64(maxTokenWait))) + 1
}

// take uses a token, going into debt if there is none.
func (b *tokenBucket) take(now mclock.AbsTime) {
	if b.rate > 0 {
		b.fill(now)
		b.tokens--
	}
}
