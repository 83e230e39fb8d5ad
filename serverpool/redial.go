package serverpool

import (
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// How long a server is left alone after an attempt. All waits are in seconds
// of unix time, as stored.
const (
	// minRedialWait is the shortest wait. More spares full servers, less finds
	// a slot sooner after it was freed.
	minRedialWait = 10
	// maxKnownWait is the wait above which a server of value counts as gone.
	maxKnownWait = 2000 * 3600
	// maxValuelessWait bounds the wait of servers that never gave anything.
	// More saves queries to dead ones, less finds those that came back.
	maxValuelessWait = 3600
	// dialStep and queryStep are the growth of the wait after a dial and after
	// a query. A query is cheap, so its wait hardly grows.
	dialStep  = 1.5
	queryStep = 1.02
	// redialJitter is the most that is added to a running wait, as a share of
	// it, so that clients do not come back all at once.
	redialJitter = 0.1
)

// nextWait returns the next wait after an attempt that ended at now.
func (h history) nextWait(now int64, step float64, s service) int64 {
	planned := h.waitEnd - h.waitStart
	actual := planned
	if now < h.waitEnd {
		actual = min(max(now-h.waitStart, 0), planned)
	}
	next := max(float64(planned), float64(actual)*step)
	if s.session > 0 {
		// The more a session gave of all that the server ever gave, and the
		// more its dials have cost, the sooner it is worth another try.
		earned := s.total * attemptDial.cost * minRedialWait / (s.dialCost * s.session)
		if earned < next { // and not NaN
			next = earned
		}
	}
	// Rounding up lets every step grow the wait: 2% of 10 s would be lost.
	return int64(math.Ceil(min(max(next, minRedialWait), math.MaxInt32)))
}

// remaining returns how much of the stored wait is left at now. A clock that
// was set back cannot make it longer than it was planned.
func (h history) remaining(now int64) time.Duration {
	left := min(h.waitEnd-now, h.waitEnd-h.waitStart)
	return time.Duration(min(max(left, 0), maxKnownWait)) * time.Second
}

// isMinimal tells whether the last planned wait was the shortest one, as after
// a session that was worth its dial.
func (h history) isMinimal() bool { return h.waitEnd-h.waitStart <= minRedialWait }

// untilGivenAgain returns the rest of minRedial since the server was given out.
func (h history) untilGivenAgain(now mclock.AbsTime, minRedial time.Duration) time.Duration {
	if !h.isGiven {
		return 0
	}
	return max(minRedial-now.Sub(h.given), 0)
}
