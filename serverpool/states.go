package serverpool

import (
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/lespay"
	"github.com/lespool/lespool/nodestate"
)

// setupVersion is stored with every node. It is the one that databases of
// existing light clients carry.
const setupVersion = 2

// none is the empty set of flags.
var none nodestate.Flags

// states are the flags and fields of one pool's nodes. The package comment
// draws how the flags follow each other. The order of the definitions is part
// of the stored format.
type states struct {
	setup *nodestate.Setup

	hasValue      nodestate.Flags // its service was worth something; stored
	query         nodestate.Flags // is being asked whether it has room
	canDial       nodestate.Flags // waits to be given out
	dialed        nodestate.Flags // was given out
	dialTimeout   nodestate.Flags // was given out and may still connect
	connected     nodestate.Flags // registered by the application
	redialWait    nodestate.Flags // is left alone for a while
	alwaysConnect nodestate.Flags // trusted
	acquainted    nodestate.Flags // its yes can be believed, see acquaintances.go
	resting       nodestate.Flags // is an acquaintance that was asked lately

	inDialProcess nodestate.Flags // any of these: no candidate
	hasTurn       nodestate.Flags // any of these: comes without a discovery source
	underWay      nodestate.Flags // any of these: counts against the network cap
	offline       nodestate.Flags

	history        nodestate.Field[history]
	weight         nodestate.Field[uint64] // of a known server; the chance of being chosen
	connectedStats nodestate.Field[lespay.ResponseTimeStats]
	localAddress   nodestate.Field[*enr.Record]
	nearness       nodestate.Field[uint64] // of an acquaintance; the chance of being asked
}

func newStates() *states {
	s := &nodestate.Setup{Name: "serverpool", Version: setupVersion}
	st := &states{
		setup:         s,
		offline:       s.OfflineFlag(),
		hasValue:      s.NewPersistentFlag("hasValue"),
		query:         s.NewFlag("query"),
		canDial:       s.NewFlag("canDial"),
		dialed:        s.NewFlag("dialed"),
		dialTimeout:   s.NewFlag("dialTimeout"),
		connected:     s.NewFlag("connected"),
		redialWait:    s.NewFlag("redialWait"),
		alwaysConnect: s.NewFlag("alwaysConnect"),
		acquainted:    s.NewFlag("acquainted"),
		resting:       s.NewFlag("resting"),

		history:        nodestate.NewPersistentField(s, "nodeHistory", nodestate.RLPCodec[history]()),
		weight:         nodestate.NewField[uint64](s, "nodeWeight"),
		connectedStats: nodestate.NewField[lespay.ResponseTimeStats](s, "connectedStats"),
		localAddress:   nodestate.NewPersistentField(s, "localAddress", nodestate.RLPCodec[*enr.Record]()),
		nearness:       nodestate.NewField[uint64](s, "nearness"),
	}
	st.hasTurn = nodestate.MergeFlags(st.hasValue, st.alwaysConnect, st.acquainted)
	st.underWay = nodestate.MergeFlags(st.query, st.canDial, st.dialed, st.connected)
	st.inDialProcess = st.underWay.Or(st.redialWait)
	return st
}
