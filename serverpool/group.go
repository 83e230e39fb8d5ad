package serverpool

import (
	"sync"
	"time"
)

// group counts goroutines that call functions of the application, so that Stop
// can wait for them, but not for ever.
type group struct {
	// later runs functions when the caller has ended, in place of goroutines.
	// They must not wait then. Nil for goroutines.
	later func(f func())

	mu struct {
		sync.Mutex
		n    int
		idle chan struct{} // closed when n gets 0; nil when nobody waits
	}
}

// run calls f on a goroutine of the group.
func (g *group) run(f func()) {
	if g.later != nil {
		g.later(f)
		return
	}
	g.mu.Lock()
	g.mu.n++
	g.mu.Unlock()
	go func() {
		defer g.done()
		f()
	}()
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

// wait waits until no goroutine is left and returns true, or false after d.
func (g *group) wait(d time.Duration) bool {
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
