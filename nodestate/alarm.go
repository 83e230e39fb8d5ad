package nodestate

import (
	"runtime/debug"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
)

// This file has the clock call back: one timer, the alarm, serves all timeouts.

// setAlarm makes sure that the alarm goes off in time for the earliest
// timeout. One that goes off too early finds nothing to do and is set again.
func (ns *NodeStateMachine) setAlarm() {
	at, ok := ns.timeouts.next()
	if !ok || ns.firing || ns.alarm != nil && ns.alarmAt <= at {
		return
	}
	ns.cancelTimer(&ns.alarm)
	ns.alarm, ns.alarmAt = ns.after(at.Sub(ns.clock.Now()), ns.fire), at
}

// fire is what the alarm calls.
func (ns *NodeStateMachine) fire() {
	defer ns.timers.Done()
	ns.setFiring(true)
	defer ns.setFiring(false)
	for ns.expire() {
	}
}

func (ns *NodeStateMachine) setFiring(firing bool) {
	ns.turn.Lock()
	defer ns.turn.Unlock()
	ns.firing = firing
	ns.cancelTimer(&ns.alarm)
	if !firing && ns.phase.Load() == phaseRunning {
		ns.setAlarm()
	}
}

// expire runs the operation of the earliest timeout that is due, if any.
func (ns *NodeStateMachine) expire() bool {
	ns.turn.Lock()
	to := ns.timeouts.due(ns.clock.Now())
	if ns.closing.Load() || to == nil {
		ns.turn.Unlock()
		return false
	}
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover() // nil after runtime.Goexit
		ns.log.Error("A callback after a timeout did not return", "panic", v, "stack", string(debug.Stack()))
		if v != nil {
			panic(v)
		}
	}()
	op := ns.open("timeout")
	func() {
		defer ns.end(op)
		ns.expired(to.nd, to.mask)
	}()
	returned = true
	return true
}

// after has the clock call f, which must call timers.Done.
func (ns *NodeStateMachine) after(d time.Duration, f func()) mclock.Timer {
	ns.timers.Add(1)
	return ns.clock.AfterFunc(max(d, 0), f)
}

// cancelTimer stops a timer made by after, if *t is one.
func (ns *NodeStateMachine) cancelTimer(t *mclock.Timer) {
	if *t != nil && (*t).Stop() {
		ns.timers.Done()
	}
	*t = nil
}
