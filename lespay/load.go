package lespay

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// load reads the global record and looks through those of the servers. A
// record that cannot be used is logged and treated as absent.
func (vt *ValueTracker) load() error {
	data, err := vt.records.get(vt.globalKey())
	if err != nil {
		return fmt.Errorf("lespay: Config.Store: reading the global record: %w", err)
	}
	var rec *globalRecord
	if data != nil {
		if rec, err = decodeGlobal(data); err != nil {
			vt.report("Global service statistics are unusable, starting without", "err", err)
		}
	}
	var found survey
	if rec != nil {
		found, err = vt.survey(Fixed64(rec.LogOffset).ToUint64())
	} else {
		found, err = vt.survey(maxFixed.ToUint64())
	}
	if err != nil && rec == nil {
		return fmt.Errorf("lespay: Config.Store: looking for servers: %w", err)
	} else if err != nil {
		vt.report("Stored servers cannot be listed", "err", err)
		vt.index.setPartial()
	}
	if rec == nil {
		rec = vt.rebuild(found)
	}
	vt.begin(rec)
	return nil
}

// survey is what the records of the servers say together.
type survey struct {
	servers  int
	rtStats  ResponseTimeStats // the sum of all
	maxExp   uint64
	mappings uint64 // one more than the largest mapping number
}

// maxMappings bounds the mapping numbers that are believed when the list of
// mappings is lost; growing it lets a damaged record make the new list longer.
const maxMappings = 1 << 16

// survey reads the records of all servers and fills the index. limit is the
// present exponent.
func (vt *ValueTracker) survey(limit uint64) (found survey, err error) {
	prefix := vt.nodeKey(enode.ID{})
	prefix = prefix[:len(prefix)-len(enode.ID{})]
	err = vt.records.scan(prefix, func(key, value []byte) {
		var id enode.ID
		if len(key) != len(prefix)+len(id) {
			return
		}
		copy(id[:], key[len(prefix):])
		rec, err := decodeNode(value, limit)
		switch {
		case errors.Is(err, errVersion):
			vt.report("Server statistics of an unknown version", "server", id, "err", err)
			vt.index.put(id, unknownWorth)
		case err != nil:
			vt.report("Server statistics are damaged", "server", id, "err", err)
			vt.index.put(id, worthless)
		default:
			found.add(rec)
			rank, total := rec.RtStats.weightLog2()
			vt.index.put(id, worth{rank, total})
		}
	})
	return found, err
}

func (s *survey) add(rec *nodeRecord) {
	s.servers++
	s.rtStats.AddStats(&rec.RtStats)
	s.maxExp = max(s.maxExp, rec.RtStats.exp, rec.Basket.Exp)
	if rec.Mapping < maxMappings {
		s.mappings = max(s.mappings, rec.Mapping+1)
	}
}

// rebuild makes a global record from what the servers' records say, which is
// nothing in a new store. The log offset is the largest exponent found: values
// come out a little too large, as its fraction is lost. The lists of names are
// lost too; mapping numbers that are in use stay taken by empty lists, so that
// baskets which refer to them are not read as something else.
func (vt *ValueTracker) rebuild(found survey) *globalRecord {
	if found.servers > 0 {
		vt.report("Global service statistics are rebuilt from those of the servers", "servers", found.servers)
	}
	rec := &globalRecord{
		Mappings:  make([][]string, found.mappings),
		RtStats:   found.rtStats,
		LogOffset: uint64(Uint64ToFixed64(found.maxExp)),
	}
	rec.Mappings = append(rec.Mappings, requestNames(vt.cfg.Requests))
	rec.RefMapping = found.mappings
	rec.RefBasket = initialBasket(vt.cfg.Requests)
	rec.RefBasket.Exp = found.maxExp
	return rec
}

func requestNames(reqs []RequestInfo) []string {
	names := make([]string, len(reqs))
	for i, r := range reqs {
		names[i] = r.Name
	}
	return names
}

// begin sets the state that a record describes, aged by the time since it was
// written.
func (vt *ValueTracker) begin(rec *globalRecord) {
	now := vt.cfg.Clock.Now()
	offline := vt.offline(rec.SavedAt)
	offset := Fixed64(rec.LogOffset).plus(growth(float64(offline), vt.cfg.OfflineExpirationRate))
	vt.expirer.SetLogOffset(now, offset)
	vt.expirer.SetRate(now, vt.cfg.StatsExpirationRate)

	vt.maps = newMappings(rec.Mappings, requestNames(vt.cfg.Requests))
	init := initialBasket(vt.cfg.Requests)
	loaded, known := vt.maps.load(rec.RefBasket, rec.RefMapping)
	loaded.fillIn(init, known)
	if amount, _ := loaded.sums(); amount == 0 {
		loaded = init // nothing is left of the stored mix
		loaded.Exp = offset.ToUint64()
	}
	loaded.normalize()

	vt.mu.Lock()
	defer vt.mu.Unlock()
	vt.mu.rtStats = rec.RtStats
	vt.mu.basket = loaded
	vt.mu.ref = loaded.view()
	vt.mu.maxExp = offset.ToUint64()
}

// offline returns for how long the client was off. A wall clock that was set
// back gives 0; see MaxOffline for one that was set forward.
func (vt *ValueTracker) offline(savedAt uint64) time.Duration {
	now := unixNano(vt.cfg.WallClock())
	if savedAt == 0 || savedAt >= now {
		return 0
	}
	return time.Duration(min(now-savedAt, uint64(vt.cfg.MaxOffline)))
}

// unixNano returns the time since 1970, limited to the range of an int64.
func unixNano(t time.Time) uint64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return uint64(t.UnixNano())
}

// readNode reads the record of a server. It returns nil if there is none or if
// it is unusable, which is logged; an error means that this cannot be told. The
// basket is returned in the order of the request list. It needs no lock.
func (vt *ValueTracker) readNode(id enode.ID, limit uint64) (*nodeRecord, error) {
	data, err := vt.records.get(vt.nodeKey(id))
	if err != nil || data == nil {
		return nil, err
	}
	rec, err := decodeNode(data, limit)
	if err != nil {
		vt.report("Server statistics are unusable, starting without", "server", id, "err", err)
		return nil, nil
	}
	if vt.maps.fits(rec.Basket, rec.Mapping) {
		rec.Basket, _ = vt.maps.load(rec.Basket, rec.Mapping)
		return rec, nil
	}
	if len(rec.Basket.Items) > 0 && !vt.maps.lost(rec.Mapping) {
		vt.report("Server basket does not fit its mapping, dropped", "server", id,
			"mapping", rec.Mapping, "items", len(rec.Basket.Items))
	}
	rec.Basket = basket{Items: make([]basketItem, len(vt.cfg.Requests)), Exp: rec.Basket.Exp}
	return rec, nil
}

func (vt *ValueTracker) globalKey() []byte {
	return append(append([]byte(nil), vt.cfg.Prefix...), globalKey...)
}
