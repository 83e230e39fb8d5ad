package udpquery

import (
	"io"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// Version is the version of the query protocol that this package speaks.
const Version = 1

// LesEntry is the entry "les" of a light server's node record. On the wire it is
// a list whose first item is the version of the query protocol; the rest is
// ignored. The empty list, which servers from before UDP queries publish, reads
// as version 0.
type LesEntry struct {
	Version uint64
}

// ENRKey implements enr.Entry.
func (LesEntry) ENRKey() string { return "les" }

// EncodeRLP implements rlp.Encoder.
func (e LesEntry) EncodeRLP(w io.Writer) error {
	return rlp.Encode(w, []uint64{e.Version})
}

// DecodeRLP implements rlp.Decoder.
func (e *LesEntry) DecodeRLP(s *rlp.Stream) error {
	if _, err := s.List(); err != nil {
		return err
	}
	e.Version = 0
	for i := 0; s.MoreDataInList(); i++ {
		var err error
		if i == 0 {
			e.Version, err = s.Uint64()
		} else {
			_, err = s.Raw()
		}
		if err != nil {
			return err
		}
	}
	return s.ListEnd()
}

// TakesQueries tells whether the node's record says that it answers queries by
// UDP. A nil node does not.
func TakesQueries(n *enode.Node) bool {
	var e LesEntry
	return n != nil && n.Load(&e) == nil && e.Version >= Version
}
