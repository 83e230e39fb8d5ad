package lespay

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
)

// predecessor is testdata/v1.13.5-database.json.
type predecessor struct {
	Records   map[string]string
	Requests  []RequestInfo
	Stats     []RequestStatsItem
	LogOffset Fixed64
	Global    []float64
	Nodes     [][]float64
	Timeouts  []time.Duration
}

func loadPredecessor(t testing.TB, w *world) (p predecessor) {
	data, err := os.ReadFile("testdata/v1.13.5-database.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &p))
	for key, value := range p.Records {
		k, err := hex.DecodeString(key)
		require.NoError(t, err)
		v, err := hex.DecodeString(value)
		require.NoError(t, err)
		require.NoError(t, w.store.Put(k, v))
	}
	w.cfg.Requests = p.Requests
	rec, err := decodeGlobal(w.records()[globalKey])
	require.NoError(t, err)
	w.wall = time.Unix(0, int64(rec.SavedAt))
	return p
}

func (p predecessor) require(t *testing.T, vt *ValueTracker) {
	require.Equal(t, p.LogOffset, vt.StatsExpirer().LogOffset(0))
	bins := func(want []float64, rt ResponseTimeStats) {
		for i, row := range rt.Distribution(false, vt.StatsExpFactor()) {
			require.InDelta(t, want[i], row[1], 1e-6)
		}
	}
	bins(p.Global, vt.RtStats())
	for i, want := range p.Nodes {
		bins(want, vt.GetNode(enode.ID{byte(i + 1)}).RtStats())
	}
	byName := make(map[string]RequestStatsItem)
	for _, s := range vt.RequestStats() {
		byName[s.Name] = s
	}
	for _, s := range p.Stats {
		require.InEpsilon(t, s.ReqAmount, byName[s.Name].ReqAmount, 1e-6)
		require.InEpsilon(t, s.ReqValue, byName[s.Name].ReqValue, 1e-6)
	}
	for i, ratio := range []float64{0.01, 0.1, 0.5, 0.9, 1} {
		require.InDelta(t, p.Timeouts[i].Seconds(), vt.RtStats().Timeout(ratio).Seconds(), 1e-6)
	}
}

// The database of an existing light client loads with its statistics, and what
// is written goes on being one that it can read: the same records, byte by
// byte, but for the time.
func TestDatabaseOfExistingClients(t *testing.T) {
	w := newWorld(t)
	p := loadPredecessor(t, w)
	before := w.records()
	require.Len(t, before, 4)
	vt := w.start()
	p.require(t, vt)
	require.Zero(t, vt.maps.current, "the first with these names")
	require.Len(t, vt.maps.lists, 2)
	require.Empty(t, w.log.take())

	for i := range 3 {
		nv := vt.Register(enode.ID{byte(i + 1)})
		nv.mu.dirty = true
	}
	vt.Stop()
	after := w.records()
	require.Len(t, after, 4)
	for i := range 3 {
		var rec nodeRecord
		key := nodePrefix + string(append([]byte{byte(i + 1)}, make([]byte, 31)...))
		require.NoError(t, decodeRecord(after[key], &rec))
		require.Zero(t, rec.Mapping)
		var old nodeRecord
		require.NoError(t, decodeRecord(before[key], &old))
		require.EqualValues(t, 1, old.Mapping)
		require.Equal(t, old.RtStats, rec.RtStats)
		require.Equal(t, old.Basket.Exp, rec.Basket.Exp)
		require.ElementsMatch(t, old.Basket.Items, rec.Basket.Items)
	}
	again := w.start()
	p.require(t, again)
}

func TestRecordsReencodeToTheSameBytes(t *testing.T) {
	w := newWorld(t)
	loadPredecessor(t, w)
	order := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for key, value := range w.records() {
		if key == globalKey {
			rec, err := decodeGlobal(value)
			require.NoError(t, err)
			require.Equal(t, value, encodeGlobal(rec, order))
			continue
		}
		rec, err := decodeNode(value, 1000)
		require.NoError(t, err)
		require.Equal(t, value, encodeNode(rec, order))
	}
}

// The bytes of a small database, spelled out.
func TestStoredBytes(t *testing.T) {
	w := newWorld(t)
	w.cfg.Requests = []RequestInfo{{"a", 1, 1}, {"b", 1, 3}}
	w.wall = time.Unix(1, 0)
	vt := w.start()
	vt.Register(id(0)).Served(one(1, 2), 0)
	vt.Stop()
	zeros := strings.Repeat("80", 31)
	node := id(0)
	require.Equal(t, map[string]string{
		"vt:": "01" + "f846" +
			"c3c26162" + "80" + // mappings, the basket's one
			"d4d2c8830f42408307a120c8830f42408316e36080" + // the basket
			"e5e3832dc6c0" + zeros + "80" + // response times
			"80" + "843b9aca00", // log offset, 1 s after 1970
		"vtNode:" + string(node[:]): "01" + "f6" +
			"e5e3832dc6c0" + zeros + "80" +
			"80" + // mapping
			"ceccc28080c8831e8480832dc6c080", // 2 of b, worth 3
	}, hexRecords(w))
}

func hexRecords(w *world) map[string]string {
	res := make(map[string]string)
	for k, v := range w.records() {
		res[k] = hex.EncodeToString(v)
	}
	return res
}

// Whatever happens to one record, the others are there, and nothing of a
// damaged one is used.
func TestDamagedServerRecords(t *testing.T) {
	good := func() (*world, []byte) {
		w := newWorld(t)
		vt := w.start()
		vt.Register(id(0)).Served(one(1, 100), time.Second)
		vt.Register(id(1)).Served(one(1, 50), time.Second)
		vt.Stop()
		return w, w.records()[nodePrefix+string(idBytes(0))]
	}
	_, sample := good()
	future := ResponseTimeStats{exp: 40}
	future.stats[3] = 1e9
	for name, data := range map[string][]byte{
		"empty":           {},
		"cut":             sample[:len(sample)/2],
		"noise":           []byte("noise"),
		"trailing":        append(append([]byte{}, sample...), 0),
		"unknown version": append([]byte{2}, sample[1:]...),
		"from the future": encodeNode(&nodeRecord{RtStats: future}, nil),
		"huge exponent":   encodeNode(&nodeRecord{RtStats: ResponseTimeStats{exp: math.MaxUint64}}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := good()
			w.t = t
			require.NoError(t, w.store.Put([]byte(nodePrefix+string(idBytes(0))), data))
			vt := w.start()
			require.Len(t, w.log.take(), 1)
			require.Zero(t, total(vt, vt.GetNode(id(0)).RtStats()))
			require.InEpsilon(t, 50, total(vt, vt.GetNode(id(1)).RtStats()), 1e-6)
			require.InEpsilon(t, 150, total(vt, vt.RtStats()), 1e-6)
			w.log.take()
			vt.Register(id(0)).Served(one(1, 9), time.Second)
			vt.Stop()
			require.Empty(t, w.log.take())
			vt = w.start()
			require.InEpsilon(t, 9, total(vt, vt.GetNode(id(0)).RtStats()), 1e-6)
			require.Empty(t, w.log.take(), "was replaced")
		})
	}
	t.Run("basket", func(t *testing.T) { // the statistics are whole and stay
		for _, rec := range []nodeRecord{
			{Mapping: 7, Basket: basket{Items: make([]basketItem, 3)}},
			{Mapping: math.MaxUint64, Basket: basket{Items: make([]basketItem, 3)}},
			{Basket: basket{Items: make([]basketItem, 2)}},
			{Basket: basket{Items: make([]basketItem, 4)}},
		} {
			w, _ := good()
			rec.RtStats.Add(time.Second, 100, noExp)
			data, err := rlp.EncodeToBytes(&rec)
			require.NoError(t, err)
			require.NoError(t, w.store.Put([]byte(nodePrefix+string(idBytes(0))), append([]byte{1}, data...)))
			vt := w.start()
			nv := vt.Register(id(0))
			require.Len(t, w.log.take(), 1)
			require.InEpsilon(t, 100, total(vt, nv.RtStats()), 1e-6)
			require.True(t, nv.mu.basket.isZero())
			vt.Stop()
		}
	})
}

func idBytes(i int) []byte {
	node := id(i)
	return node[:]
}

func TestDamagedRecordsAreDeletedAndUnknownVersionsKept(t *testing.T) {
	w := newWorld(t)
	w.start().Stop()
	require.NoError(t, w.store.Put([]byte(nodePrefix+string(idBytes(0))), []byte{1, 0xc0}))
	require.NoError(t, w.store.Put([]byte(nodePrefix+string(idBytes(1))), []byte{9, 9}))
	require.NoError(t, w.store.Put([]byte(nodePrefix+"short"), []byte("not ours")))
	vt := w.start()
	vt.Stop()
	require.Len(t, w.log.take(), 2)
	require.Len(t, w.records(), 3)
	require.Contains(t, w.records(), nodePrefix+string(idBytes(1)))
}

// Without the global record, or with a damaged one, the statistics of servers
// load all the same, at the right scale, and the global ones are their sum.
func TestDamagedGlobalRecord(t *testing.T) {
	for name, change := range map[string]func(*globalRecord) []byte{
		"missing":             nil,
		"empty":               func(*globalRecord) []byte { return nil },
		"noise":               func(*globalRecord) []byte { return []byte("noise") },
		"unknown version":     func(*globalRecord) []byte { return []byte{2, 0xc0} },
		"negative offset":     func(r *globalRecord) []byte { r.LogOffset = 1 << 63; return encodeGlobal(r, []int{0, 1, 2}) },
		"no such mapping":     func(r *globalRecord) []byte { r.RefMapping = 5; return encodeGlobal(r, []int{0, 1, 2}) },
		"short basket":        func(r *globalRecord) []byte { return encodeGlobal(r, []int{0, 1}) },
		"long basket":         func(r *globalRecord) []byte { return encodeGlobal(r, []int{0, 1, 2, 2}) },
		"stats of the future": func(r *globalRecord) []byte { r.RtStats.exp = 1 << 40; return encodeGlobal(r, []int{0, 1, 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			vt := w.start()
			vt.expirer.SetLogOffset(0, Float64ToFixed64(57.3))
			vt.Register(id(0)).Served(one(1, 100), time.Second)
			vt.Register(id(1)).Served(one(1, 50), time.Second)
			w.clock.Run(time.Minute)
			vt.Stop()
			if change == nil {
				require.NoError(t, w.store.Delete([]byte(globalKey)))
			} else {
				rec, err := decodeGlobal(w.records()[globalKey])
				require.NoError(t, err)
				require.NoError(t, w.store.Put([]byte(globalKey), change(rec)))
			}
			vt = w.start()
			require.Contains(t, strings.Join(w.log.take(), "\n"), "rebuilt")
			v := total(vt, vt.GetNode(id(0)).RtStats())
			require.True(t, v > 99 && v < 130, "%v: the fraction of the offset is lost", v)
			require.InEpsilon(t, 1.5*v, total(vt, vt.RtStats()), 1e-6)
			require.True(t, vt.GetNode(id(0)).mu.basket.isZero(), "the names are lost")
			require.InEpsilon(t, 10, vt.RequestStats()[0].ReqAmount, 1e-6)
			w.requireSum(vt, 2)
			vt.Register(id(0)).Served(one(1, 100), time.Second)
			vt.Stop()
			require.Empty(t, w.log.take())
			vt = w.start()
			w.requireSum(vt, 2)
			require.Empty(t, w.log.take())
			require.False(t, vt.GetNode(id(0)).mu.basket.isZero())
			vt.Stop()
		})
	}
}

func TestExponentOneAheadIsTakenBack(t *testing.T) {
	// Older software wrote servers when they left and the global state at other
	// times; after a crash a server may be one exponent ahead.
	rec := &nodeRecord{RtStats: ResponseTimeStats{exp: 6}}
	rec.RtStats.stats[2] = 100
	got, err := decodeNode(encodeNode(rec, nil), 5)
	require.NoError(t, err)
	require.EqualValues(t, 5, got.RtStats.exp)
	require.EqualValues(t, 100, got.RtStats.stats[2])
	_, err = decodeNode(encodeNode(rec, nil), 4)
	require.ErrorContains(t, err, "exponent 6 is ahead")
}

func TestOnLevelDB(t *testing.T) {
	db, err := leveldb.New(t.TempDir(), 16, 16, "", false)
	require.NoError(t, err)
	defer db.Close()
	w := newWorld(t)
	w.cfg.Store = db
	w.cfg.MaxStored = 20
	vt := w.start()
	for i := range 50 {
		vt.Register(id(i)).Served(one(1, uint32(10+i)), time.Second)
		vt.Unregister(id(i))
	}
	w.clock.Run(time.Hour)
	vt.Stop()
	vt = w.start()
	w.requireSum(vt, 50)
	require.Zero(t, total(vt, vt.GetNode(id(29)).RtStats()))
	require.InEpsilon(t, 40, total(vt, vt.GetNode(id(30)).RtStats()), 0.02)
	require.NotZero(t, vt.index.len())
	vt.Stop()
	require.Empty(t, w.log.take())
}

// Any bytes under any key: no panic, and a second start finds a clean database.
func FuzzStoredRecords(f *testing.F) {
	w := newWorld(f)
	loadPredecessor(f, w)
	for key, value := range w.records() {
		f.Add(value, key == globalKey)
	}
	f.Add([]byte{1, 0xc0}, true)
	f.Fuzz(func(t *testing.T, data []byte, global bool) {
		w := newWorld(t)
		loadPredecessor(t, w)
		node := enode.ID{1}
		key := nodePrefix + string(node[:])
		if global {
			key = globalKey
		}
		require.NoError(t, w.store.Put([]byte(key), data))
		vt := w.start()
		nv := vt.Register(node)
		nv.UpdateCosts([]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
		nv.Served([]ServedRequest{{0, 1}, {9, 5}}, time.Second)
		w.clock.Run(time.Hour)
		for _, v := range []float64{value(vt, nv.RtStats()), value(vt, vt.RtStats())} {
			require.True(t, v >= 0 && v <= math.MaxFloat64)
		}
		for _, s := range vt.RequestStats() {
			require.True(t, s.ReqValue >= 0 && s.ReqValue <= math.MaxFloat64 && s.ReqAmount >= 0 && s.ReqAmount <= math.MaxFloat64, fmt.Sprint(s))
		}
		vt.Stop()
		w.log.take()
		vt = w.start()
		require.Empty(t, w.log.take())
		vt.Stop()
	})
}

// FuzzDecodeRecords throws any bytes at the two decoders; what they accept is
// encoded to the same bytes.
func FuzzDecodeRecords(f *testing.F) {
	w := newWorld(f)
	loadPredecessor(f, w)
	for _, value := range w.records() {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if rec, err := decodeGlobal(data); err == nil {
			again := encodeGlobal(rec, identity(len(rec.RefBasket.Items)))
			back, err := decodeGlobal(again)
			require.NoError(t, err)
			require.Equal(t, rec, back)
		}
		if rec, err := decodeNode(data, math.MaxUint64); err == nil {
			require.Equal(t, data, encodeNode(rec, identity(len(rec.Basket.Items))))
		}
	})
}

func identity(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

var _ records = storeRecords{testutil.NewFaultyStore()}
