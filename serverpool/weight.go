package serverpool

import (
	"math"
	"time"
)

// attempt is a way of trying to use a server and what it costs when nothing
// comes of it.
type attempt struct {
	cost float64 // in units of dial cost
	step float64 // growth of the redial wait
	// least is the least wait that follows.
	least time.Duration
}

// What a server's attempts have cost decays like its service value does. The
// ratio of dial to query cost says how many useless queries are as bad as a
// useless dial; only the ratio matters, beside the scale of known servers'
// weights.
var (
	attemptDial  = attempt{cost: 10000, step: dialStep}
	attemptQuery = attempt{cost: 500, step: queryStep}
)

const (
	// weightScale is the weight of a server that gave one unit of value per
	// unit of dial cost.
	weightScale = 1e6
	// minWeight is the weight from which a server is known. Raising it forgets
	// servers of little value sooner.
	minWeight = 100
)

// service is what is known of a server's worth at one moment.
type service struct {
	total    float64 // value of everything it gave, decayed
	session  float64 // value of the session that just ended, 0 if there was none
	dialCost float64 // decayed, at least the cost of one dial
}

func newService(total, session, dialCost float64) service {
	return service{total, session, max(dialCost, attemptDial.cost)}
}

// weight is the server's chance of being chosen, relative to other known ones:
// the value that it gave per cost of its attempts.
func (s service) weight() uint64 {
	w := weightScale * s.total / s.dialCost
	if !(w > 0) {
		return 0
	}
	return uint64(min(w, math.MaxInt32))
}
