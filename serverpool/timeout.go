package serverpool

import (
	"time"

	"github.com/lespool/lespool/lespay"
)

// The recommended request timeout is drawn from the statistics of all servers
// and one pseudo-answer, which decides alone while there are few real ones.
const (
	pseudoAnswerTime   = 2 * time.Second
	pseudoAnswerWeight = 10
	// minTimeout bounds the timeout from below. Less gives up on answers that
	// are only a little late, more waits longer for those that never come.
	minTimeout = 500 * time.Millisecond
	// lateShare is the share of answers that may come after the timeout.
	lateShare = 0.1
	// medianFactor times the median is never late.
	medianFactor = 2
)

// recommendTimeout returns the time after which a request is better sent to
// another server, and the value of answers by their time under it. It changes
// the statistics.
func recommendTimeout(rts lespay.ResponseTimeStats, ef lespay.ExpirationFactor) (time.Duration, lespay.ResponseTimeWeights) {
	rts.Add(pseudoAnswerTime, pseudoAnswerWeight, ef)
	timeout := max(minTimeout, rts.Timeout(lateShare), medianFactor*rts.Timeout(0.5))
	return timeout, lespay.TimeoutWeights(timeout)
}
