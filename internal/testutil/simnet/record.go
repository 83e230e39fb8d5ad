package simnet

import (
	"math"
	"time"
)

// Record is what a client has experienced. Times are since its start.
type Record struct {
	// Reached tells when there were 1, 2, … connections for the first time.
	Reached []Milestone
	// Connected is the time of connections by class of the server. Sybils have
	// the entry behind the last class.
	Connected []time.Duration
	// ShortOf is the time with fewer connections than wanted, and Without that
	// with none.
	ShortOf, Without time.Duration

	Dials   int // connections tried
	Wasted  int // of these, those that led to no session
	Crowded int // dials of servers in the crowded network
	Passed  int // candidates that were not dialed again so soon
	Queries int // queries by UDP, whatever the number of packets
	Drops   int // sessions that the pool ended
	Ended   int // sessions that the server ended

	Answers Times // of requests
	Lost    int   // requests whose answer came too late or not at all

	Sessions []Session // in order of their beginning
}

// Session is a connection to a server.
type Session struct {
	Server     int           // its number
	Begin, End time.Duration // since the start; End is 0 while it lasts
}

// Milestone is how things stood at a moment of interest.
type Milestone struct {
	At             time.Duration
	Dials, Queries int // until then
}

func newRecord(classes int) Record { return Record{Connected: make([]time.Duration, classes+1)} }

// Share returns which share of the connected time was spent on a class.
func (r *Record) Share(class int) float64 {
	var sum time.Duration
	for _, d := range r.Connected {
		sum += d
	}
	if sum == 0 {
		return 0
	}
	return float64(r.Connected[class]) / float64(sum)
}

// Sybils returns which share of the connected time was spent on sybils.
func (r *Record) Sybils() float64 { return r.Share(len(r.Connected) - 1) }

// First returns when there were k connections for the first time.
func (r *Record) First(k int) (m Milestone, ok bool) {
	if k < 1 || len(r.Reached) < k {
		return m, false
	}
	return r.Reached[k-1], true
}

// Times is a distribution of times. The zero value is empty.
type Times struct {
	Sum   time.Duration
	Count int
	bins  [timesBins]int32
}

// Bins are equal steps of the logarithm: 64 for a factor of 10, from 1 ms on.
const (
	timesPerDecade = 64
	timesBins      = 4*timesPerDecade + 1
)

func (t *Times) add(d time.Duration) {
	t.Sum += d
	t.Count++
	k := timesPerDecade * math.Log10(max(float64(d)/float64(time.Millisecond), 1))
	t.bins[min(int(k), timesBins-1)]++
}

// Mean returns the mean, 0 if there is none.
func (t *Times) Mean() time.Duration { return t.Sum / time.Duration(max(t.Count, 1)) }

// Quantile returns the time that a share q of all does not exceed, exact to 4%.
func (t *Times) Quantile(q float64) time.Duration {
	rest := q * float64(t.Count)
	for k, count := range t.bins {
		if rest -= float64(count); rest <= 0 && t.Count > 0 {
			return time.Duration(math.Pow(10, (float64(k)+0.5)/timesPerDecade) * float64(time.Millisecond))
		}
	}
	return 0
}

// Since returns what was added after an earlier state.
func (t Times) Since(earlier Times) Times {
	t.Sum -= earlier.Sum
	t.Count -= earlier.Count
	for k := range t.bins {
		t.bins[k] -= earlier.bins[k]
	}
	return t
}
