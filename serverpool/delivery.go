package serverpool

import (
	"runtime/debug"
	"sync"

	"github.com/ethereum/go-ethereum/log"
)

// delivery calls functions of the application that hear of changes: in order,
// one at a time, and not from where the changes are made, so that they may take
// their time and call the pool.
type delivery struct {
	log log.Logger
	// start has its argument called soon, and not by its own caller. One call
	// is under way at a time.
	start func(deliver func())

	mu struct { // taken with the pool's mutex held
		sync.Mutex
		queue   []func()
		running bool // deliver was started and has not returned
		lost    int
		closed  bool
	}
}

// maxUndelivered bounds the calls that wait. More rides out longer delays in
// the application's functions, at some 100 bytes each.
const maxUndelivered = 4096

func newDelivery(log log.Logger, start func(func())) *delivery {
	return &delivery{log: log, start: start}
}

// post has f called after those posted before. If too many wait it is lost, and
// counted.
func (d *delivery) post(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.closed {
		return
	}
	if len(d.mu.queue) >= maxUndelivered {
		d.mu.lost++
		return
	}
	d.mu.queue = append(d.mu.queue, f)
	if !d.mu.running {
		d.mu.running = true
		d.start(d.deliver)
	}
}

// deliver makes the calls that wait until none is left.
func (d *delivery) deliver() {
	done := false
	defer func() {
		if !done { // runtime.Goexit
			d.start(d.deliver)
		}
	}()
	for f := d.take(); f != nil; f = d.take() {
		d.call(f)
	}
	done = true
}

func (d *delivery) take() (f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.mu.queue) == 0 {
		d.mu.queue, d.mu.running = nil, false
		return nil
	}
	f = d.mu.queue[0]
	d.mu.queue[0] = nil
	d.mu.queue = d.mu.queue[1:]
	return f
}

func (d *delivery) call(f func()) {
	defer func() {
		if v := recover(); v != nil {
			d.log.Error("A function that hears of events panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// close lets nothing more in. What waits is still delivered, unless drop is
// true.
func (d *delivery) close(drop bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.closed = true
	if drop {
		d.mu.queue = nil
	}
}

// lost returns how many calls were lost.
func (d *delivery) lost() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.lost
}
