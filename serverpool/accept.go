package serverpool

import (
	"net"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// check tells why a node with the given address cannot be a candidate, whatever its
// state.
func (p *ServerPool) check(n *enode.Node, ip net.IP, discovered bool) (reason error) {
	p.see(n, discovered)
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
