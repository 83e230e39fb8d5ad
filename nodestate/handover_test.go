package nodestate

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The hand-over of turns, and the shutdown, as a model that is small enough to
// look at every state it can get into: operations, two calls of Stop and the
// alarm's goroutines, interleaved in every way. In none of them may somebody
// wait for ever.
func TestNobodyWaitsForEver(t *testing.T) {
	states, bad := exploreOnce()
	t.Logf("%d states", states)
	require.Greater(t, states, 100000, "the model does something")
	require.Empty(t, bad)
}

// exploreOnce spares repeated runs the same work.
var exploreOnce = sync.OnceValues(func() (int, string) { return explore(handover{}) })

// The model finds the faults that it is there for. The first is the one that
// the state machine of go-ethereum had: a waiting operation that finds the
// machine closed leaves without waking the next one.
func TestModelFindsFaults(t *testing.T) {
	for name, rules := range map[string]handover{
		"closed without waking the next": {leaveSilently: true},
		"timers awaited under the turn":  {waitInside: true},
		"alarm not cancelled at Stop":    {keepAlarm: true},
		"second Stop not told":           {forgetStopped: true},
		"alarm not set after the last":   {dropAlarm: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, bad := explore(rules)
			require.NotEmpty(t, bad)
		})
	}
}

// ----------------------------------------------------------------------------

// handover is the model; its fields are faults that it may have.
type handover struct {
	leaveSilently, waitInside, keepAlarm, forgetStopped, dropAlarm bool
}

const (
	modelOps    = 3 // each adds a timeout
	modelStops  = 2
	modelAlarms = 4
	modelProcs  = modelOps + modelStops + modelAlarms
)

// modelState is everything that the goroutines share, and where each stands.
type modelState struct {
	held     bool // the turn
	closing  bool
	closed   bool // phase
	stopped  bool // the channel
	firing   bool
	timeouts int8 // waiting to expire
	armed    int8 // alarm goroutine that the clock will start, 1-based; 0: none
	used     int8 // alarms armed so far
	timers   int8 // the wait group
	closer   int8 // the Stop that ran the shutdown, 1-based; 0: none yet
	at       [modelProcs]place
	turn     [modelAlarms]place // which one an alarm's goroutine is about to take
}

type place uint8

const (
	begin   place = iota // also while it yields, which changes nothing that is modelled
	asleep               // in Lock, until an Unlock wakes it
	awake                // in Lock, may try again
	inTurn               // got the turn
	waiting              // after the turn, for others
	done
	unarmed // an alarm's goroutine that does not exist yet
	// The turns of an alarm's goroutine.
	firing1 // first turn: setFiring(true)
	expire1 // further turns: expire
	firing2 // last turn: setFiring(false)
)

// explore visits every state that can be reached, or until it finds a bad one,
// in which nothing can happen although somebody is not done, or no alarm will
// end a timeout.
func explore(rules handover) (states int, bad string) {
	start := modelState{}
	for i := modelOps + modelStops; i < modelProcs; i++ {
		start.at[i] = unarmed
	}
	seen := map[modelState]bool{start: true}
	todo := []modelState{start}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		next := rules.steps(s)
		if len(next) == 0 && !s.finished() || s.lostAlarm() {
			return len(seen), fmt.Sprintf("%+v", s)
		}
		for _, n := range next {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return len(seen), ""
}

func (s modelState) finished() bool {
	for _, p := range s.at {
		if p != done && p != unarmed {
			return false
		}
	}
	return !s.held && s.timers == 0 && s.stopped
}

// lostAlarm tells whether timeouts wait although no alarm is on its way.
func (s modelState) lostAlarm() bool {
	return !s.held && !s.closing && s.timeouts > 0 && s.armed == 0 && s.timers == 0
}

// steps returns what can happen next.
func (r handover) steps(s modelState) (next []modelState) {
	for i := range s.at {
		next = append(next, r.step(s, i)...)
	}
	if s.armed > 0 { // the clock may start the alarm at any time
		n := s
		n.at[modelOps+modelStops+s.armed-1] = begin
		n.turn[s.armed-1] = firing1
		n.armed = 0
		next = append(next, n)
	}
	return next
}

func (r handover) step(s modelState, i int) (next []modelState) {
	isStop := i >= modelOps && i < modelOps+modelStops
	switch s.at[i] {
	case begin, awake:
		if isStop && s.at[i] == begin {
			s.closing = true
		}
		if s.held {
			s.at[i] = asleep
		} else {
			s.held = true
			s.at[i] = inTurn
		}
		return []modelState{s}
	case inTurn:
		switch {
		case i < modelOps:
			return r.operate(s, i)
		case isStop:
			return r.stop(s, i)
		default:
			return r.alarm(s, i)
		}
	case waiting:
		isCloser := int(s.closer) == i+1
		if isCloser && s.timers > 0 || !isCloser && !s.stopped {
			return nil
		}
		s.stopped = s.stopped || isCloser && !r.forgetStopped
		s.at[i] = done
		return []modelState{s}
	}
	return nil
}

// operate is the turn of an operation.
func (r handover) operate(s modelState, i int) []modelState {
	s.at[i] = done
	if s.closing {
		if r.leaveSilently {
			s.held = false
			return []modelState{s}
		}
		return unlock(s)
	}
	s.timeouts++
	s.setAlarm()
	return unlock(s)
}

// stop is the turn of a Stop.
func (r handover) stop(s modelState, i int) []modelState {
	if s.closed {
		s.at[i] = waiting
		return unlock(s)
	}
	if r.waitInside && s.timers > min(s.armed, 1) {
		return nil
	}
	s.closed, s.closer, s.timeouts = true, int8(i+1), 0
	if r.keepAlarm {
		s.armed = 0 // nobody runs the clock any more
	} else {
		s.cancelAlarm()
	}
	s.at[i] = waiting
	return unlock(s)
}

// alarm is one turn of an alarm's goroutine.
func (r handover) alarm(s modelState, i int) []modelState {
	turn := &s.turn[i-modelOps-modelStops]
	s.at[i] = begin
	switch *turn {
	case firing1:
		s.firing = true
		s.cancelAlarm()
		*turn = expire1
	case expire1:
		if s.closing || s.timeouts == 0 {
			*turn = firing2
		} else {
			s.timeouts--
		}
	case firing2:
		s.firing = false
		s.cancelAlarm()
		if !s.closed && !r.dropAlarm {
			s.setAlarm()
		}
		s.timers--
		s.at[i] = done
	}
	return unlock(s)
}

func (s *modelState) setAlarm() {
	if s.timeouts == 0 || s.firing || s.armed > 0 || s.used == modelAlarms {
		return
	}
	s.used++
	s.armed = s.used
	s.timers++
}

func (s *modelState) cancelAlarm() {
	if s.armed > 0 {
		s.armed = 0
		s.timers--
	}
}

// unlock ends a turn as sync.Mutex does: it wakes any one of those asleep; it
// may leave that to one who is awake already.
func unlock(s modelState) (next []modelState) {
	s.held = false
	sleepers, anyAwake := false, false
	for i, p := range s.at {
		anyAwake = anyAwake || p == awake
		if p == asleep {
			sleepers = true
			n := s
			n.at[i] = awake
			next = append(next, n)
		}
	}
	if !sleepers || anyAwake {
		next = append(next, s)
	}
	return next
}
