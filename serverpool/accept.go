package serverpool

import "net"

// check tells why a node with the given address cannot be a candidate, whatever its
// state.
func (p *ServerPool) check(o offer, ip net.IP) (reason error) {
	n := o.node
	p.see(o)
	if ip != nil && n.TCP() == 0 {
		return errNoPort
	}
	if p.cfg.Accept == nil {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("Accept panicked", "panic", v)
			reason = errPanicked
		}
	}()
	if err := p.cfg.Accept(n); err != nil {
		return notAccepted(err.Error())
	}
	return nil
}

// notAccepted is the application's reason.
type notAccepted string

func (e notAccepted) Error() string { return string(e) }
