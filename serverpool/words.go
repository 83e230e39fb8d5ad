package serverpool

import (
	"fmt"
	"strings"
	"time"
)

// String says in one line what the pool is doing and why it has no more
// servers, like "looking for servers: 132 seen, 87 full, 12 silent, next redial
// in 14s".
func (s Status) String() string {
	switch {
	case s.Connected >= s.Wanted && s.Connected > 0:
		return fmt.Sprintf("%d servers connected", s.Connected)
	case s.Connected > 0:
		return fmt.Sprintf("%d of %d servers connected, looking for more: %s", s.Connected, s.Wanted, s.search())
	case !s.Needed && s.Dialed+s.Returned == 0 && s.Outcomes[outcomeGiven.String()] == 0:
		return "no server, and nobody has asked the iterator for one"
	}
	return "looking for servers: " + s.search()
}

// search says what became of the nodes that were found.
func (s *Status) search() string {
	if s.Seen == 0 {
		return "no source has brought a node"
	}
	parts := []string{fmt.Sprintf("%d seen", s.Seen)}
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	for _, o := range []outcome{
		outcomeFull, outcomeSilent, outcomeNotBelieved, outcomeAsked, outcomeDialed, outcomeRefused, outcomeTimedOut,
		outcomeNotDialed, outcomeNotAccepted,
	} {
		add(s.Outcomes[o.String()], o.String())
	}
	add(s.Banned, "banned")
	switch {
	case s.NetworkDown:
		parts = append(parts, "nobody reacts: is the own network down?")
	case s.UDP4Dead || s.UDP6Dead:
		parts = append(parts, "nobody answers by UDP")
	}
	if s.Waiting > 0 {
		parts = append(parts, "next redial in "+time.Duration(s.NextRedial).Round(time.Second).String())
	}
	return strings.Join(parts, ", ")
}

// sayWhyNone logs what the pool does while no server is connected.
func (p *ServerPool) sayWhyNone() {
	if s := p.counters(); s.Connected == 0 {
		p.log.Info("No server is connected", "status", s.String())
	}
}
