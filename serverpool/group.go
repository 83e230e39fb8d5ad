package serverpool

import (
	"slices"
	"sync"
	"time"
)

// group is goroutines that call functions of the application, counted so that
// Stop can wait for them, but not for ever. One that has nothing left to do rests
// for a moment before it ends: where there is much to do, few goroutines do it,
// and their stacks have grown already.
type group struct {
	// later runs functions when the caller has ended, in place of goroutines.
	// They must not wait then. Nil for goroutines.
	later func(f func())

	mu struct {
		sync.Mutex
		n       int           // goroutines
		resting []chan func() // what those that rest wait for; each has room for one function
		closed  bool          // none rests any more
		idle    chan struct{} // closed when n gets 0; nil when nobody waits
	}
}

// restTime is how long a goroutine rests. Longer saves making goroutines where
// there is less to do.
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
		return
	}
	g.mu.n++
	go g.work(f)
}

func (g *group) work(f func()) {
	defer g.done() // f may end the goroutine
	next := make(chan func(), 1)
	timer := time.NewTimer(restTime)
	defer timer.Stop()
	for f != nil {
		f()
		f = g.rest(next, timer)
	}
}

// rest waits for another function; nil means that the goroutine has to end.
func (g *group) rest(next chan func(), timer *time.Timer) func() {
	if !g.lieDown(next) {
		return nil
	}
	timer.Reset(restTime)
	select {
	case f := <-next:
		return f
	case <-timer.C:
		g.getUp(next)
		return <-next
	}
}

func (g *group) lieDown(next chan func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.mu.closed {
		g.mu.resting = append(g.mu.resting, next)
	}
	return !g.mu.closed
}

// getUp makes sure that there is something in next, or that it is closed.
func (g *group) getUp(next chan func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.mu.resting, next); i >= 0 {
		g.mu.resting = slices.Delete(g.mu.resting, i, i+1)
		close(next)
	}
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
	for _, next := range g.mu.resting {
		close(next)
	}
	g.mu.resting = nil
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
