package testutil

import (
	"container/heap"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// Clock is virtual time for single-threaded tests. Unlike mclock.Simulated it
// steps from timer to timer: inside a callback Now is the time the timer was
// due, and a timer that a callback sets within the span of [Clock.Run] fires
// in the same Run. Timers due at the same instant fire in the order in which
// they were set. The zero value is ready for use and stands at 0.
//
// AfterFunc callbacks run on the goroutine that calls Run. All methods may be
// called concurrently.
type Clock struct {
	mu struct {
		sync.Mutex
		now    mclock.AbsTime
		seq    uint64
		timers timerHeap
	}
}

type timer struct {
	clock *Clock
	at    mclock.AbsTime
	seq   uint64
	index int // in the heap, -1 when not running
	fire  func(now mclock.AbsTime)
	ch    chan mclock.AbsTime
}

// Run advances the clock by d, firing every timer that becomes due.
func (c *Clock) Run(d time.Duration) {
	c.mu.Lock()
	end := c.mu.now.Add(d)
	c.mu.Unlock()
	for c.step(end) {
	}
	c.mu.Lock()
	c.mu.now = max(c.mu.now, end)
	c.mu.Unlock()
}

// Step advances the clock to the next timer and fires it. It returns false,
// leaving the time as it is, when no timer is running.
func (c *Clock) Step() bool { return c.step(1<<63 - 1) }

func (c *Clock) step(end mclock.AbsTime) bool {
	c.mu.Lock()
	if len(c.mu.timers) == 0 || c.mu.timers[0].at > end {
		c.mu.Unlock()
		return false
	}
	t := heap.Pop(&c.mu.timers).(*timer)
	c.mu.now = max(c.mu.now, t.at)
	now := c.mu.now
	c.mu.Unlock()
	t.fire(now)
	return true
}

// Timers returns the number of running timers.
func (c *Clock) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.timers)
}

// Now implements mclock.Clock.
func (c *Clock) Now() mclock.AbsTime {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.now
}

// Sleep implements mclock.Clock. Another goroutine has to run the clock.
func (c *Clock) Sleep(d time.Duration) { <-c.After(d) }

// After implements mclock.Clock.
func (c *Clock) After(d time.Duration) <-chan mclock.AbsTime { return c.NewTimer(d).C() }

// NewTimer implements mclock.Clock.
func (c *Clock) NewTimer(d time.Duration) mclock.ChanTimer {
	ch := make(chan mclock.AbsTime, 1)
	t := &timer{clock: c, ch: ch, index: -1}
	t.fire = func(now mclock.AbsTime) {
		select {
		case ch <- now:
		default:
		}
	}
	t.Reset(d)
	return t
}

// AfterFunc implements mclock.Clock.
func (c *Clock) AfterFunc(d time.Duration, f func()) mclock.Timer {
	t := &timer{clock: c, index: -1, fire: func(mclock.AbsTime) { f() }}
	t.Reset(d)
	return t
}

// C implements mclock.ChanTimer.
func (t *timer) C() <-chan mclock.AbsTime { return t.ch }

// Reset implements mclock.ChanTimer.
func (t *timer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&c.mu.timers, t.index)
	}
	c.mu.seq++
	t.at, t.seq = c.mu.now.Add(d), c.mu.seq
	heap.Push(&c.mu.timers, t)
}

// Stop implements mclock.Timer.
func (t *timer) Stop() bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&c.mu.timers, t.index)
	return true
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = -1
	return t
}

// BubbleClock is the clock for tests inside a testing/synctest bubble, where
// mclock.System stands still: it is built on package time alone. Make it with
// [NewBubbleClock] inside the bubble.
type BubbleClock struct{ base time.Time }

// NewBubbleClock returns a clock that starts at 0.
func NewBubbleClock() *BubbleClock { return &BubbleClock{time.Now()} }

// Now implements mclock.Clock.
func (c *BubbleClock) Now() mclock.AbsTime { return mclock.AbsTime(time.Since(c.base)) }

// Sleep implements mclock.Clock.
func (c *BubbleClock) Sleep(d time.Duration) { time.Sleep(d) }

// After implements mclock.Clock.
func (c *BubbleClock) After(d time.Duration) <-chan mclock.AbsTime { return c.NewTimer(d).C() }

// AfterFunc implements mclock.Clock.
func (c *BubbleClock) AfterFunc(d time.Duration, f func()) mclock.Timer {
	return time.AfterFunc(d, f)
}

// NewTimer implements mclock.Clock.
func (c *BubbleClock) NewTimer(d time.Duration) mclock.ChanTimer {
	ch := make(chan mclock.AbsTime, 1)
	t := time.AfterFunc(d, func() {
		select {
		case ch <- c.Now():
		default:
		}
	})
	return &bubbleTimer{t, ch}
}

type bubbleTimer struct {
	*time.Timer
	ch chan mclock.AbsTime
}

func (t *bubbleTimer) C() <-chan mclock.AbsTime { return t.ch }
func (t *bubbleTimer) Reset(d time.Duration)    { t.Timer.Reset(d) }
