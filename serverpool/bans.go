package serverpool

import (
	"fmt"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
)

// The rules of bans. A ban ends by itself. What remains then is its strength,
// which is 1 and what had remained of earlier bans of the node when it began, and
// which halves every half-life after its end. A ban lasts as many times what was
// asked for as its strength says: a second one right after the first twice as
// long, one that comes a half-life later half as long again. Banning a node that
// is banned adds nothing to the strength, since several requests may fail for one
// reason; the later of the two ends holds.

const (
	// maxBans bounds the bans, those included that have ended and whose
	// strength counts. The one that ends first makes room. More keeps out more
	// nodes, at some 100 bytes each.
	maxBans = 1000
	// banHalfLife is how long after its end a ban counts half. More is harder on
	// those that fail seldom.
	banHalfLife = 7 * 24 * time.Hour
	// leastStrength is the strength below which a ban is forgotten.
	leastStrength = 1. / 8
	// maxStrength bounds how many times longer a ban gets. More lets somebody
	// who bans without care lose a node for longer.
	maxStrength = 100
	// maxBan is the longest ban; longer ones are cut.
	maxBan = 365 * 24 * time.Hour
)

// ban is one node's ban, which may have ended.
type ban struct {
	start, end int64 // unix seconds, as stored
	until      mclock.AbsTime
	strength   float64 // when it began
	reason     string
}

// strengthAt returns what the ban counts. A clock that was set back does not
// make it more.
func (b *ban) strengthAt(unix int64) float64 {
	since := float64(max(unix-b.end, 0))
	return b.strength * math.Exp2(-since/banHalfLife.Seconds())
}

// remaining returns how much of a stored ban is left, never more than was
// planned.
func (b *ban) remaining(unix int64) time.Duration {
	left := min(b.end-unix, b.end-b.start)
	return time.Duration(max(left, 0)) * time.Second
}

// bans are the bans of all nodes.
type bans struct{ *ledger[ban] }

func newBans(poolPrefix []byte) *bans {
	return &bans{newLedger(ledgerKind[ban]{
		name:   "b",
		encode: func(b ban) any { return b.stored() },
		decode: decodeBan,
		age:    func(b ban) int64 { return b.end },
	}, poolPrefix, maxBans)}
}

// active returns the ban of a node that has not ended.
func (bs *bans) active(id enode.ID, now mclock.AbsTime) (ban, bool) {
	b, ok := bs.get(id)
	if !ok || b.until <= now {
		return ban{}, false
	}
	return b, true
}

// add bans a node and returns its ban. d is positive.
func (bs *bans) add(id enode.ID, d time.Duration, reason string, now moment) ban {
	old, found := bs.get(id)
	b := ban{start: now.unix, strength: 1, reason: shortText(reason)}
	running := found && now.mono < old.until
	switch {
	case running:
		b.strength = old.strength
	case found:
		b.strength = min(1+old.strengthAt(now.unix), maxStrength)
	default:
		bs.makeRoom()
	}
	seconds := math.Ceil(min(d.Seconds()*b.strength, maxBan.Seconds()))
	b.end, b.until = now.unix+int64(seconds), now.mono.Add(time.Duration(seconds)*time.Second)
	if running && old.until >= b.until {
		return old
	}
	bs.put(id, b)
	return b
}

// makeRoom removes the ban that ends first if there is no room for another.
func (bs *bans) makeRoom() {
	if bs.len() < maxBans {
		return
	}
	var first enode.ID
	least := mclock.AbsTime(math.MaxInt64)
	for _, id := range bs.ids() {
		if b, _ := bs.get(id); b.until < least {
			first, least = id, b.until
		}
	}
	bs.remove(first)
}

// expire forgets bans that have ended and hardly count any more.
func (bs *bans) expire(now moment) {
	for _, id := range bs.ids() {
		if b, _ := bs.get(id); b.until <= now.mono && b.strengthAt(now.unix) < leastStrength {
			bs.remove(id)
		}
	}
}

// load is that of the ledger. A ban that seems to begin in the future was set
// by a clock that was ahead; it is rewritten, so that the next restart does not
// give it its whole length again.
func (bs *bans) load(db ethdb.Iteratee, now moment) (bad int, err error) {
	bad, err = bs.ledger.load(db, now)
	for _, id := range bs.ids() {
		if b, _ := bs.get(id); b.start > now.unix {
			b.start, b.end = now.unix, now.unix+(b.end-b.start)
			bs.put(id, b)
		}
	}
	return bad, err
}

// banVersion is the version of stored bans.
const banVersion = 1

// storedBan is a stored ban, of kind "b".
type storedBan struct {
	Version    uint64
	Start, End uint64 // unix seconds
	Strength   uint64 // in thousandths
	Reason     string
}

func (b *ban) stored() *storedBan {
	return &storedBan{
		banVersion, uint64(max(b.start, 0)), uint64(max(b.end, 0)), uint64(math.Round(b.strength * 1000)), b.reason,
	}
}

func decodeBan(value []byte, now moment) (b ban, err error) {
	var enc storedBan
	if err := rlp.DecodeBytes(value, &enc); err != nil {
		return b, err
	}
	switch {
	case enc.Version != banVersion:
		return b, fmt.Errorf("version %d", enc.Version)
	case enc.Start > enc.End || enc.End > 1<<40 || enc.End-enc.Start > uint64(maxBan/time.Second):
		return b, fmt.Errorf("ban from %d to %d", enc.Start, enc.End)
	case enc.Strength > maxStrength*1000:
		return b, fmt.Errorf("strength %d", enc.Strength)
	case enc.Reason != shortText(enc.Reason):
		return b, fmt.Errorf("reason of %d bytes", len(enc.Reason))
	}
	b = ban{start: int64(enc.Start), end: int64(enc.End), strength: float64(enc.Strength) / 1000, reason: enc.Reason}
	if left := b.remaining(now.unix); left > 0 {
		b.until = now.mono.Add(left)
	}
	return b, nil
}
