package nodestate

import (
	"fmt"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// maxFlags counts the built-in offline flag too: a state is one 64-bit word.
const maxFlags = 64

// Setup names the flags and fields that the nodes of a machine have. Make it
// with a literal that gives Name and Version, define flags and fields, then
// hand it to [New]. From then on it is read-only: a later definition panics,
// as do a repeated name and a 64th flag (programming errors all).
//
// A Setup may serve several machines. Defining is not safe for concurrent use.
type Setup struct {
	// Name tells setups apart in messages. Optional.
	Name string
	// Version is stored with every node. Stored nodes of another version are
	// deleted when a machine starts, so raise it when the meaning of a
	// persistent flag or field changes.
	Version uint

	flags  []flagDef // flags[0] is the offline flag, once anything is defined
	fields []fieldDef
	frozen atomic.Bool
}

type flagDef struct {
	name       string
	persistent bool
}

type fieldDef struct {
	name      string
	newColumn func(index int32) column
}

// NewFlag defines a flag that is not stored.
func (s *Setup) NewFlag(name string) Flags { return s.addFlag(name, false) }

// NewPersistentFlag defines a flag that comes back after a restart, unless it
// had a running timeout. Only nodes with such a flag are stored at all.
func (s *Setup) NewPersistentFlag(name string) Flags { return s.addFlag(name, true) }

// OfflineFlag is the built-in flag that makes up the state of a stored node
// before it was loaded and of every node after shutdown. Subscribers that ask
// for it can tell loading and shutdown from other changes. It can be neither
// set nor reset by a caller: both are ignored.
func (s *Setup) OfflineFlag() Flags {
	s.init()
	return Flags{offlineMask, s}
}

const offlineMask = uint64(1)

func (s *Setup) init() {
	if len(s.flags) == 0 {
		s.flags = append(s.flags, flagDef{name: "offline"})
	}
}

func (s *Setup) addFlag(name string, persistent bool) Flags {
	s.init()
	s.mustBeOpen("flag", name)
	for _, f := range s.flags {
		if f.name == name {
			panic(fmt.Sprintf("nodestate: flag %q is defined twice in setup %q", name, s.Name))
		}
	}
	if len(s.flags) == maxFlags {
		panic(fmt.Sprintf("nodestate: setup %q has no room for flag %q: at most %d flags", s.Name, name, maxFlags-1))
	}
	s.flags = append(s.flags, flagDef{name, persistent})
	return Flags{1 << (len(s.flags) - 1), s}
}

func (s *Setup) addField(name string, newColumn func(int32) column) int32 {
	s.mustBeOpen("field", name)
	for _, f := range s.fields {
		if f.name == name {
			panic(fmt.Sprintf("nodestate: field %q is defined twice in setup %q", name, s.Name))
		}
	}
	s.fields = append(s.fields, fieldDef{name, newColumn})
	return int32(len(s.fields) - 1)
}

func (s *Setup) mustBeOpen(kind, name string) {
	if s.frozen.Load() {
		panic(fmt.Sprintf("nodestate: %s %q is defined after setup %q went into use", kind, name, s.Name))
	}
}

// persistentMask returns the flags that are stored.
func (s *Setup) persistentMask() (mask uint64) {
	for i, f := range s.flags {
		if f.persistent {
			mask |= 1 << i
		}
	}
	return mask
}

// StateCallback is called when the state of n changed in one of the flags that
// were subscribed to; both states hold only those flags. Further changes go
// through op. See the package comment for what a callback may do.
type StateCallback func(op Op, n *enode.Node, oldState, newState Flags)
