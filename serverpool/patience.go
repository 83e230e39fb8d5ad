package serverpool

import "time"

// patience is how long a dial may take that nothing speaks for: one of a server
// that was not asked. Dead hosts keep such a dial, and the place that it takes,
// for as long as the system waits, while those that are there mostly answer in a
// fraction of a second. The limit follows the times of successful dials as TCP's
// retransmission timer follows round trips (RFC 6298), with more reserve. It is
// not safe for concurrent use.
type patience struct {
	mean, deviation float64 // of the time until a connection, in seconds
	seen            int
}

const (
	// minPatience is the least limit. It leaves room for a lost packet: TCP repeats
	// the first one after 1 s. More waits longer for the dead, less gives up the
	// slow.
	minPatience = 1500 * time.Millisecond
	// deviations is how many mean deviations above the mean the limit is.
	deviations = 8
	// fewDials is how many connections have to be seen before there is a limit.
	fewDials = 4
)

// connected takes the time of a dial that succeeded.
func (p *patience) connected(d time.Duration) {
	t := d.Seconds()
	if p.seen == 0 {
		p.mean, p.deviation = t, t/2
	} else {
		p.deviation += (max(t-p.mean, p.mean-t) - p.deviation) / 4
		p.mean += (t - p.mean) / 8
	}
	p.seen++
}

// limit returns how long a dial may take, 0 for as long as it likes.
func (p *patience) limit() time.Duration {
	if p.seen < fewDials {
		return 0
	}
	return max(minPatience, time.Duration((p.mean+deviations*p.deviation)*float64(time.Second)))
}
