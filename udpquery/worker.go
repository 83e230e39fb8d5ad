package udpquery

import (
	"github.com/ethereum/go-ethereum/common/mclock"
)

// dispatchLocked hands the ticket that is due, if one is, to the worker and sets
// the alarm.
func (s *Server) dispatchLocked(now mclock.AbsTime) {
	if t := s.mu.limiter.next(now); t != nil {
		s.due <- t // there is room: no other ticket is in service
	}
	s.setAlarmLocked(now)
}

// work serves what is due until Stop.
func (s *Server) work() {
	for t := range s.due {
		for t != nil {
			t = s.serveTicket(t)
		}
	}
	close(s.idle)
}

// serveTicket returns the next ticket, if one is due already. Should a service
// end the goroutine by runtime.Goexit, another one takes over.
func (s *Server) serveTicket(t *ticket) (next *ticket) {
	var replies Replies
	returned := false
	defer func() {
		next = s.finish(t, replies)
		if returned {
			return
		}
		if next != nil {
			s.due <- next
		}
		s.startWorker()
	}()
	replies = s.handle(t)
	returned = true
	return nil
}

// finish ends the service of a ticket and begins that of the one it returns.
func (s *Server) finish(t *ticket, replies Replies) (next *ticket) {
	s.mu.Lock()
	s.mu.limiter.done()
	now := s.clock.Now()
	next = s.mu.limiter.next(now)
	s.setAlarmLocked(now)
	if s.mu.stopped {
		close(s.due)
	}
	late := t.answered
	t.answered = true
	s.mu.Unlock()
	if !late {
		t.answer <- replies // last, as who waits for it goes on at once
	}
	return next
}

// handle gives the requests of a batch to the services, until nobody waits for
// the answer any more.
func (s *Server) handle(t *ticket) Replies {
	services := s.registry.Load().services
	address := t.from.address(t.id)
	replies := make(Replies, len(t.batch))
	for i, r := range t.batch {
		if i > 0 && s.answered(t) {
			return nil
		}
		if b := services[r.Service]; b != nil {
			replies[i] = s.call(b, t.id, address, r)
		}
	}
	return replies
}

func (s *Server) answered(t *ticket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.answered
}

func (s *Server) dropLocked(dropped []*ticket) {
	for _, t := range dropped {
		if !t.answered {
			t.answered = true
			t.answer <- nil
		}
	}
}

// alarm is a timer that calls Server.wake at the time.
type alarm struct {
	at    mclock.AbsTime
	timer mclock.Timer
}

// setAlarmLocked sees to it that wake is called when the limiter wants it. An
// alarm that is set for earlier stays.
func (s *Server) setAlarmLocked(now mclock.AbsTime) {
	at, ok := s.mu.limiter.wake()
	old := s.mu.alarm
	switch {
	case !ok && !s.mu.stopped, ok && old != nil && old.at <= at:
		return
	case old != nil:
		old.timer.Stop()
		s.mu.alarm = nil
	}
	if ok {
		a := &alarm{at: at}
		a.timer = s.clock.AfterFunc(max(0, at.Sub(now)), func() { s.wake(a) })
		s.mu.alarm = a
	}
}

// wake drops what waited too long and goes on with the rest.
func (s *Server) wake(a *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.alarm == a {
		s.mu.alarm = nil
	}
	now := s.clock.Now()
	s.dropLocked(s.mu.limiter.expire(now))
	s.dispatchLocked(now)
}
