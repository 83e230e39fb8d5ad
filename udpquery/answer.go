package udpquery

import (
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// Answer is what came of asking a server. The numbers are those of the answers
// that the server pool takes: a conversion is enough between the two.
type Answer int

const (
	Silent  Answer = iota // no usable answer
	No                    // no slot
	Yes                   // a slot
	Unasked               // the server takes no queries by UDP, or its record is not to be had
)

func (a Answer) String() string {
	switch a {
	case Silent:
		return "silent"
	case No:
		return "no"
	case Yes:
		return "yes"
	case Unasked:
		return "unasked"
	}
	return fmt.Sprintf("Answer(%d)", int(a))
}

// Transport carries the messages. *discover.UDPv5 of every go-ethereum version
// is one.
type Transport interface {
	TalkRequest(n *enode.Node, protocol string, request []byte) ([]byte, error)
}

// RecordRequester is a Transport that can ask a node for its record, as
// *discover.UDPv5. Without it a node that is known by its URL only is Unasked.
type RecordRequester interface {
	RequestENR(n *enode.Node) (*enode.Node, error)
}
