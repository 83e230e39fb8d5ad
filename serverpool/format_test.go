package serverpool

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// What is in the store, byte by byte. The fixed entries are those of existing
// light clients.

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	require.NoError(t, err)
	return b
}

func encode(t testing.TB, v any) []byte {
	b, err := rlp.EncodeToBytes(v)
	require.NoError(t, err)
	return b
}

func TestHistoryBytes(t *testing.T) {
	for _, c := range []struct {
		h     history
		bytes string
	}{
		{history{}, "c5 c28080 80 80"},
		{history{dialCost: lespay.ExpiredValue{Base: 10000, Exp: 3}, waitStart: 1700000000, waitEnd: 1700000015},
			"cf c4 822710 03 84 6553f100 84 6553f10f"},
	} {
		want := unhex(t, c.bytes)
		require.Equal(t, want, encode(t, c.h))
		var h history
		require.NoError(t, rlp.DecodeBytes(want, &h))
		require.Equal(t, c.h, h)
	}
	// What is not stored does not come back, and times before 1970 are none.
	odd := history{waitStart: -5, waitEnd: -1, given: 1, isGiven: true, inbound: true, until: 9}
	require.Equal(t, unhex(t, "c5 c28080 80 80"), encode(t, odd))
}

func TestBadHistories(t *testing.T) {
	for name, bytes := range map[string]string{
		"ends before it begins": "cf c4 822710 03 84 6553f10f 84 6553f100",
		"end out of range":      "d3 c4 822710 03 84 6553f100 88 ffffffffffffffff",
	} {
		var h history
		require.NoError(t, rlp.DecodeBytes(unhex(t, bytes), &h), name)
		require.Equal(t, history{dialCost: lespay.ExpiredValue{Base: 10000, Exp: 3}}, h, name)
	}
	for name, bytes := range map[string]string{
		"too short": "c4 c28080 80", "too long": "c6 c28080 80 80 80", "a string": "80", "empty": "", "trailing": "c5 c28080 80 80 00",
	} {
		var h history
		require.Error(t, rlp.DecodeBytes(unhex(t, bytes), &h), name)
	}
}

// A node of the machine with all that is stored of it, at fixed times.
func TestMachineEntryBytes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) { // begins at 2000-01-01, unix time 946684800
		n := testutil.Node(1, 1, "127.0.0.1")
		w.set(always(Yes), n)
		w.pool.AddSource(newSource(n))
		w.pool.Start()
		serve(w.connect(w.mustNext(time.Second)), 100)
		w.pool.UnregisterNode(n)
		w.pool.Stop()
		id := n.ID()
		value, err := w.store.Get(append([]byte("key/ns:"), id[:]...))
		require.NoError(t, err)
		record := encode(t, n.Record())
		want := encode(t, []any{
			rlp.RawValue(record), uint(2), uint64(1 << 1), [][]byte{
				unhex(t, "cf c4 822710 80 84 386d4380 84 386d438a"), // [[10000, 0], 946684800, …+10]
				nil, nil, record,
			},
		})
		require.Equal(t, want, value)
	})
}

func TestMemoryEntryBytes(t *testing.T) {
	n := testutil.PublicNode(1)
	m := newMemory([]byte("key/"), 3)
	m.remember(n, history{dialCost: lespay.ExpiredValue{Base: 500, Exp: 1}, waitStart: 946684800, waitEnd: 946684811})
	entries := m.takeDirty()
	require.Len(t, entries, 1)
	id := n.ID()
	require.Equal(t, id, entries[0].id)
	require.Equal(t, "key/x:h:"+string(id[:]), string(entries[0].key))
	want := unhex(t, "e6 01 c4 8201f4 01 84 386d4380 84 386d438b 94") // version, cost, wait, 20 bytes of text
	require.Equal(t, append(append(want, "11.0.1.7/30303/30303"[:20]...), 0x01), entries[0].value, "%x", entries[0].value)
	require.Empty(t, m.takeDirty(), "nothing has changed since")
}

// oldClient writes a database as existing light clients do: the entries by
// hand, the service value of one server by a value tracker.
func oldClient(t *testing.T, store Store, dbKey string, now time.Time) (good, waiting *enode.Node) {
	good, waiting = testutil.Node(1, 1, "11.0.0.1"), testutil.Node(2, 1, "12.0.0.1")
	values, err := lespay.NewValueTracker(lespay.Config{Store: store, Requests: testRequests, Clock: testutil.NewBubbleClock()})
	require.NoError(t, err)
	for _, n := range []*enode.Node{good, waiting} {
		serve(values.Register(n.ID()), 300)
	}
	values.Stop()
	local := testutil.Node(1, 1, "127.0.0.1")
	put := func(n *enode.Node, start, end int64, local *enr.Record) {
		fields := [][]byte{encode(t, []any{[]uint64{10000, 0}, uint64(start), uint64(end)})}
		if local != nil {
			fields = append(fields, nil, nil, encode(t, local))
		}
		id := n.ID()
		value := encode(t, []any{n.Record(), uint(2), uint64(2), fields})
		require.NoError(t, store.Put(append([]byte(dbKey+"ns:"), id[:]...), value))
	}
	put(good, now.Unix()-100, now.Unix()-90, local.Record())
	put(waiting, now.Unix()-50, now.Unix()+100, nil)
	return good, waiting
}

func TestDatabaseOfAnExistingClientLoads(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.Stop()
		w.store = testutil.NewFaultyStore()
		good, waiting := oldClient(t, w.store, "key/", time.Now())
		w.set(always(Yes), good, waiting)
		w.open(nil)
		w.pool.Start()
		require.Equal(t, 2, w.pool.Status().Restored)
		require.InDelta(t, 30000, w.weightOf(good), 300, "300 requests for one dial")
		require.Equal(t, "[hasValue]", w.state(good))
		require.Equal(t, "127.0.0.1", w.pool.DialNode(good).IP().String())
		require.Equal(t, "[hasValue, redialWait]", w.state(waiting))
		require.Equal(t, good.ID(), w.mustNext(time.Second).ID())
		w.connect(good)
		require.Nil(t, w.next(98*time.Second))
		require.Equal(t, waiting.ID(), w.mustNext(3*time.Second).ID())
	})
}

// After a crash in its first minute a server may be stored as known, while what
// it did is lost. Then its wait is all that is known of it.
func TestServerStoredWithoutItsValueIsOneWithout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.Stop()
		w.store = testutil.NewFaultyStore()
		n, now := testutil.PublicNode(1), time.Now().Unix()
		id, stored := n.ID(), history{waitStart: now - 50, waitEnd: now + 100}
		require.NoError(t, w.store.Put(append([]byte("key/ns:"), id[:]...),
			encode(t, []any{n.Record(), uint(2), uint64(2), [][]byte{encode(t, stored)}})))
		w.open(nil)
		w.pool.Start()
		require.Equal(t, "[redialWait]", w.state(n))
		time.Sleep(101 * time.Second)
		require.Equal(t, "[]", w.state(n))
		require.Equal(t, 150*time.Second, w.wait(n), "the next one will be longer")
	})
}

// Bad entries of every kind are passed over; what else is there loads.
func TestCorruptedEntriesAreSkipped(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		w.pool.Stop()
		w.store = testutil.NewFaultyStore()
		good, _ := oldClient(t, w.store, "key/", time.Now())
		put := func(key string, i uint64, value []byte) {
			id := testutil.PublicNode(i).ID()
			require.NoError(t, w.store.Put(append([]byte("key/"+key), id[:]...), value))
		}
		record := encode(t, testutil.PublicNode(10).Record())
		node := func(version, flags uint64, fields ...[]byte) []byte {
			return encode(t, []any{rlp.RawValue(record), version, flags, fields})
		}
		put("ns:", 11, nil)
		put("ns:", 12, []byte("rubbish"))
		put("ns:", 13, node(2, 2, []byte{0xc1}))                         // history
		put("ns:", 14, node(2, 2, nil, nil, nil, []byte{0x80}))          // local address
		put("ns:", 15, node(2, 2, nil, nil, nil, nil, nil))              // a field too many
		put("ns:", 16, node(1, 2, nil))                                  // another version
		put("ns:", 17, node(2, 1<<40, nil))                              // unknown flags only
		put("ns:", 18, node(2, 2, encode(t, history{}), []byte("what"))) // a field that is not stored
		memory := func(v uint64, start, end uint64) []byte {
			return encode(t, &storedMemory{v, lespay.ExpiredValue{}, start, end, "1.2.3.4/1/1", 1})
		}
		put("x:h:", 21, nil)
		put("x:h:", 22, []byte("rubbish"))
		put("x:h:", 23, memory(2, 1, 2))
		put("x:h:", 24, memory(1, 3, 2))
		put("x:h:", 25, memory(1, 1, maxKnownWait+2))
		put("x:h:", 26, memory(1, 1<<63, 1<<63+1))
		put("x:h:", 27, memory(1, 1, 2)) // the only good one
		require.NoError(t, w.store.Put([]byte("key/x:h:short"), memory(1, 1, 2)))
		w.open(nil)
		w.pool.Start()
		require.Equal(t, 1, w.log.count("Some of what is known of nodes could not be read"))
		require.Contains(t, w.state(good), "hasValue")
		require.Equal(t, 1, guarded(w.pool, w.pool.mu.memory.len))
		time.Sleep(persistInterval + time.Millisecond)
		require.Len(t, keysOf(t, w.store.Database, "key/x:h:"), 2, "bad ones are cleared away, as far as they are ours")
	})
}

// An entry may say anything. What it comes to is sane, and as stored again.
func FuzzHistory(f *testing.F) {
	f.Add(encode(f, history{dialCost: lespay.ExpiredValue{Base: 7, Exp: 9}, waitStart: 100, waitEnd: 200}))
	f.Add(unhex(f, "d3 c4 822710 03 84 6553f100 88 ffffffffffffffff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again history
		if rlp.DecodeBytes(b, &h) != nil {
			return
		}
		require.LessOrEqual(t, h.waitStart, h.waitEnd)
		require.GreaterOrEqual(t, h.waitStart, int64(0))
		for _, now := range []int64{-1 << 40, 0, h.waitStart, h.waitEnd, 1 << 40} {
			left := h.remaining(now)
			require.GreaterOrEqual(t, left, time.Duration(0))
			require.LessOrEqual(t, left, maxKnownWait*time.Second)
			require.GreaterOrEqual(t, h.nextWait(now, dialStep, newService(0, 0, 0)), int64(minRedialWait))
		}
		require.NoError(t, rlp.DecodeBytes(encode(t, h), &again))
		require.Equal(t, h, again)
	})
}

func FuzzMemory(f *testing.F) {
	f.Add(encode(f, &storedMemory{1, lespay.ExpiredValue{Base: 7, Exp: 9}, 100, 200, "1.2.3.4/5/6", 3}), int64(150))
	f.Add(encode(f, &storedMemory{1, lespay.ExpiredValue{}, 0, 1 << 40, "", 0}), int64(-1))
	f.Fuzz(func(t *testing.T, value []byte, unix int64) {
		db, prefix := testutil.NewFaultyStore(), []byte("x:h:")
		id := testutil.PublicNode(1).ID()
		require.NoError(t, db.Put(append(prefix[:4:4], id[:]...), value))
		m, now := newMemory(nil, 1), moment{unix, mclock.AbsTime(time.Hour)}
		bad, err := m.load(db, now)
		require.NoError(t, err)
		r, loaded := m.get(id)
		require.Equal(t, 1, bad+m.len())
		require.NoError(t, writeChanges(db, m.takeDirty()))
		if !loaded {
			require.Empty(t, keysOf(t, db.Database, "x:h:"), "a bad entry is cleared away")
			return
		}
		require.LessOrEqual(t, r.until, now.mono.Add(maxKnownWait*time.Second))
		again, err := decodeRemembered(value, moment{unix: 1 << 41})
		require.NoError(t, err)
		r.until = 0
		require.Equal(t, r, again)
	})
}

// The entry "les" comes from the network.
func FuzzLesEntry(f *testing.F) {
	for _, s := range []string{"c0", "c101", "c180", "c20102", "c1c0", "80", "01", "c988ffffffffffffffff", "ca89ffffffffffffffffff"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r enr.Record
		if len(raw) > 200 || rlp.DecodeBytes(raw, new(rlp.RawValue)) != nil {
			return
		}
		r.Set(enr.WithEntry("les", rlp.RawValue(raw)))
		n := enode.SignNull(&r, enode.ID{1})
		var list []rlp.RawValue
		var version uint64
		want := rlp.DecodeBytes(raw, &list) == nil && len(list) > 0 && rlp.DecodeBytes(list[0], &version) == nil && version >= 1
		require.Equal(t, want, takesQueries(n))
	})
}
