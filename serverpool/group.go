package serverpool

import (
	"sync"
	"time"
)

// group is goroutines that call functions of the application, counted so that
// Stop can wait for them, but not for ever. Those that have nothing left to do rest
// for a moment before they end: where there is much to do, few goroutines do it, and
// their stacks have grown already.
type group struct {
	// later runs functions when the caller has ended, in place of goroutines.
	// They must not wait then. Nil for goroutines.
	later func(f func())

	mu struct {
		sync.Mutex
		n       int           // goroutines
		resting []chan func() // what those that rest wait for; each has room for one function
		timer   *time.Timer   // for endRest; nil while none rests
		called  bool          // some were called from their rest since the timer was set
		closed  bool          // none rests any more
		idle    chan struct{} // closed when n gets 0; nil when nobody waits
	}
}

// restTime is how long goroutines rest when nothing is to be done, at least. Longer
// saves making goroutines where there is less to do.
const restTime = 10 * time.Millisecond

// run calls f on a goroutine of the group.
func (g *group) run(f func()) {
	if g.later != nil {
		g.later(f)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if last := len(g.mu.resting) - 1; last >= 0 {
		g.mu.resting[last] <- f
		g.mu.resting = g.mu.resting[:last]
		g.mu.called = true
		return
	}
	g.mu.n++
	go g.work(f)
}

func (g *group) work(f func()) {
	defer g.done() // f may end the goroutine
	next := make(chan func(), 1)
	for f != nil {
		f()
		g.rest(next)
		f = <-next
	}
}

// rest makes sure that there will be another function in next, or that it is closed.
func (g *group) rest(next chan func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		close(next)
		return
	}
	g.mu.resting = append(g.mu.resting, next)
	if g.mu.timer == nil {
		g.mu.called = false
		g.mu.timer = time.AfterFunc(restTime, g.endRest)
	}
}

// endRest ends the goroutines that rest, unless there is something to do now and
// then.
func (g *group) endRest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.mu.closed:
	case g.mu.called:
		g.mu.called = false
		g.mu.timer.Reset(restTime)
	default:
		g.mu.timer = nil
		g.endAllLocked()
	}
}

func (g *group) endAllLocked() {
	for _, next := range g.mu.resting {
		close(next)
	}
	g.mu.resting = nil
}

func (g *group) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.n--
	if g.mu.n == 0 && g.mu.idle != nil {
		close(g.mu.idle)
		g.mu.idle = nil
	}
}

// close has no goroutine rest any more.
func (g *group) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.closed = true
	if g.mu.timer != nil {
		g.mu.timer.Stop()
	}
	g.endAllLocked()
}

// wait closes the group and waits until no goroutine is left, then returns true,
// or false after d.
func (g *group) wait(d time.Duration) bool {
	g.close()
	g.mu.Lock()
	if g.mu.n == 0 {
		g.mu.Unlock()
		return true
	}
	if g.mu.idle == nil {
		g.mu.idle = make(chan struct{})
	}
	idle := g.mu.idle
	g.mu.Unlock()
	patience := time.NewTimer(d)
	defer patience.Stop()
	select {
	case <-idle:
		return true
	case <-patience.C:
		return false
	}
}
