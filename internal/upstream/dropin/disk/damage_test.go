package disk

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

func TestMain(m *testing.M) {
	log.Root().SetHandler(log.DiscardHandler())
	os.Exit(m.Run())
}

// Entries of ours that are damaged. No more is lost than what was in them.

// known is what the pool knows after a start, by the entry that it comes from.
type known map[string]string

func whatIsKnown(t *testing.T, d database) known {
	p := openOurs(t, d.open(t), listB)
	defer p.close()
	f := make(known)
	for _, n := range append(servers[:len(servers):len(servers)], banned) {
		id := n.ID()
		s, _ := p.ours.NodeStatus(id)
		key := func(kind string) string { return kind + string(id[:]) }
		switch n.ID() {
		case servers[never].ID(), banned.ID(): // have no other wait
			f[key(dbKey+"x:h:")] = fmt.Sprint(s.Wait)
		case moved.ID():
			f[key(dbKey+"ns:")] = fmt.Sprint(s.Known, s.Wait, p.dialNode(moved).IP())
		default:
			f[key(dbKey+"ns:")] = fmt.Sprint(s.Known, s.Wait)
		}
		f[key(dbKey+"x:b:")] = fmt.Sprint(s.Banned)
		f[key(dbKey+"x:u:")] = fmt.Sprint(s.UDP, s.PromisesKept, s.PromisesBroken)
		f[key("vtNode:")] = fmt.Sprint(ask(t, p, id.String()))
	}
	f["vt:"] = fmt.Sprint(ask(t, p, ""), p.requestStats())
	return f
}

// mayChange tells whether damage of an entry may change what another says.
func mayChange(damaged, other string) bool {
	id := func(key string) string { return key[len(key)-len(enode.ID{}):] }
	is := func(key, kind string) bool { return strings.HasPrefix(key, kind) }
	switch {
	case damaged == other:
		return true
	case damaged == "vt:": // has the point to which values have decayed
		return is(other, "vtNode:")
	case is(damaged, "vtNode:"): // a server of no value is not a known one
		return other == dbKey+"ns:"+id(damaged)
	}
	return false
}

func TestDamagedEntry(t *testing.T) {
	g := readGolden(t, "lespool")
	masks := []byte{0xff, 0x01, 0x80}
	if testing.Short() {
		masks = masks[:1]
	}
	inBubble(t, g.facts.At, func(t *testing.T) {
		whole := whatIsKnown(t, g.database)
		for i, e := range g.database {
			try := func(what string, key, value []byte) {
				d := append(database(nil), g.database...)
				d[i] = entry{key, value}
				for fact, now := range whatIsKnown(t, d) {
					if movesTime(e, value) && strings.HasPrefix(fact, dbKey+"ns:") {
						continue
					}
					if now != whole[fact] && !mayChange(string(e.key), fact) {
						t.Errorf("%q, %s: %q says\n%s\nand said\n%s", e.key, what, fact, now, whole[fact])
					}
				}
			}
			for _, mask := range masks {
				for at := range e.key {
					try(fmt.Sprintf("key byte %d ^ %#x", at, mask), flipped(e.key, at, mask), e.value)
				}
				for at := range e.value {
					try(fmt.Sprintf("value byte %d ^ %#x", at, mask), e.key, flipped(e.value, at, mask))
				}
			}
			for size := range e.value {
				try(fmt.Sprintf("value of %d bytes", size), e.key, e.value[:size])
			}
		}
	})
}

// movesTime tells whether a damaged entry of the global statistics is as good as the
// whole one, but for another time to which values have decayed. Nothing in the
// format says that it is wrong, and if it is later, all values are smaller: servers
// may not be known any more.
func movesTime(whole entry, value []byte) bool {
	var was, is storedValues
	return string(whole.key) == "vt:" && !bytes.Equal(whole.value, value) && len(value) > 0 && value[0] == 1 &&
		rlp.DecodeBytes(whole.value[1:], &was) == nil && rlp.DecodeBytes(value[1:], &is) == nil && is.Offset != was.Offset
}

func flipped(b []byte, at int, mask byte) []byte {
	b = bytes.Clone(b)
	b[at] ^= mask
	return b
}

// Damage is noticed: without the entry something else is said.
func TestEveryEntryIsRead(t *testing.T) {
	g := readGolden(t, "lespool")
	inBubble(t, g.facts.At, func(t *testing.T) {
		whole := whatIsKnown(t, g.database)
		for i, e := range g.database {
			d := append(append(database(nil), g.database[:i]...), g.database[i+1:]...)
			if whatIsKnown(t, d)[string(e.key)] == whole[string(e.key)] {
				t.Errorf("%q makes no difference", e.key)
			}
		}
	})
}
