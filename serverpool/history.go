package serverpool

import (
	"io"
	"math"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay"
)

// history is what the pool remembers of its attempts to use a server.
type history struct {
	dialCost           lespay.ExpiredValue // see weight.go
	waitStart, waitEnd int64               // last planned redial wait, unix seconds

	// Not stored.
	given   mclock.AbsTime // when it was last given out, if it ever was
	isGiven bool
	inbound bool           // first met when it connected to us
	until   mclock.AbsTime // end of a wait that began in an earlier run, see memory.load
}

// storedHistory is history on disk, an RLP list; the format is that of
// existing light clients and must not grow.
type storedHistory struct {
	DialCost           lespay.ExpiredValue
	WaitStart, WaitEnd uint64
}

// EncodeRLP implements rlp.Encoder.
func (h history) EncodeRLP(w io.Writer) error {
	return rlp.Encode(w, &storedHistory{h.dialCost, uint64(max(h.waitStart, 0)), uint64(max(h.waitEnd, 0))})
}

// DecodeRLP implements rlp.Decoder. A wait that ends before it begins, or at a
// time that cannot be, reads as none.
func (h *history) DecodeRLP(s *rlp.Stream) error {
	var enc storedHistory
	if err := s.Decode(&enc); err != nil {
		return err
	}
	*h = history{dialCost: enc.DialCost}
	if enc.WaitStart <= enc.WaitEnd && enc.WaitEnd <= math.MaxInt64/2 {
		h.waitStart, h.waitEnd = int64(enc.WaitStart), int64(enc.WaitEnd)
	}
	return nil
}
