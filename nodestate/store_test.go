package nodestate_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// schema is the setup that the tests of the store share: the flags' bits are 1,
// 2 and 3, the fields' indexes 0, 1 and 2.
type schema struct {
	*Setup
	a, b, unstored Flags
	num            Field[uint64]
	volatile       Field[int]
	text           Field[string]
}

func newSchema() *schema {
	s := &schema{Setup: &Setup{Name: "stored", Version: 7}}
	s.a, s.unstored, s.b = s.NewPersistentFlag("a"), s.NewFlag("unstored"), s.NewPersistentFlag("b")
	s.num = NewPersistentField(s.Setup, "num", RLPCodec[uint64]())
	s.volatile = NewField[int](s.Setup, "volatile")
	s.text = NewPersistentField(s.Setup, "text", RLPCodec[string]())
	return s
}

const prefix = "ns:"

func keyOf(n *enode.Node) []byte {
	id := n.ID()
	return append([]byte(prefix), id[:]...)
}

// entry is an entry of the store, in the order of its RLP list.
type entry struct {
	Record  *enr.Record
	Version uint
	State   uint64
	Fields  [][]byte
}

func (e entry) encode(t testing.TB) []byte {
	enc, err := rlp.EncodeToBytes(&e)
	require.NoError(t, err)
	return enc
}

// The format to the byte, of a node that is known by its URL only: its record
// has no signature and no identity scheme. Laid out by hand:
//
//	f8 41
//	  f4 80                                 record: signature (none)
//	     05                                 sequence number
//	     82 "id" 84 "null"                  its pairs …
//	     88 "nulladdr" a0 …32 bytes
//	  07                                    version
//	  0a                                    state: bits 1 and 3
//	  c9 82 "\x81\xc8" 80 84 "\x83hey"      fields: 200, absent, "hey"
func TestFormatToTheByte(t *testing.T) {
	store := testutil.NewFaultyStore()
	s := newSchema()
	tb := begin(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
	ns, n := tb.NodeStateMachine, nodeSeq(1, 5)
	require.NoError(t, ns.SetState(n, MergeFlags(s.a, s.b, s.unstored), none, 0))
	require.NoError(t, s.num.Set(ns, n, 200))
	require.NoError(t, s.volatile.Set(ns, n, 1))
	require.NoError(t, s.text.Set(ns, n, "hey"))
	require.NoError(t, ns.Persist(n))

	id := n.ID()
	fields := "c9" + "8281c8" + "80" + "84" + "83686579"
	record := "05" + "826964" + "846e756c6c" + "886e756c6c61646472" + "a0" + hex.EncodeToString(id[:])
	record = fmt.Sprintf("%02x80%s", 0xc0+1+len(record)/2, record)
	if len(record)/2-1 > 55 {
		t.Fatal("the record's header has become longer")
	}
	body := record + "07" + "0a" + fields
	value, err := store.Get(keyOf(n))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("f8%02x%s", len(body)/2, body), hex.EncodeToString(value))

	// Trailing absent fields are cut, absent ones in between are empty.
	require.NoError(t, s.text.Clear(ns, n))
	require.NoError(t, ns.SetState(n, none, s.b, 0))
	require.NoError(t, ns.Persist(n))
	value, err = store.Get(keyOf(n))
	require.NoError(t, err)
	body = record + "07" + "02" + "c3" + "8281c8"
	require.Equal(t, fmt.Sprintf("f8%02x%s", len(body)/2, body), hex.EncodeToString(value))
}

// A database written by hand in that format loads: signed records, with more
// entries than this project knows, and unsigned ones; fields present, absent
// and cut.
func TestHandWrittenDatabaseLoads(t *testing.T) {
	s := newSchema()
	store := testutil.NewFaultyStore()
	signed, unsigned := testutil.Node(1, 3, "10.0.0.1", enr.WithEntry("les", uint(4))), node(2)
	ten, _ := rlp.EncodeToBytes(uint64(10))
	hi, _ := rlp.EncodeToBytes("hi")
	put := func(n *enode.Node, e entry) {
		e.Record, e.Version = n.Record(), 7
		require.NoError(t, store.Put(keyOf(n), e.encode(t)))
	}
	put(signed, entry{State: 0b1010, Fields: [][]byte{ten, nil, hi}})
	put(unsigned, entry{State: 0b10, Fields: [][]byte{nil, ten}}) // field 1 was persistent once

	tb := begin(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
	ns := tb.NodeStateMachine
	require.Equal(t, "[a, b]", ns.GetState(signed).String())
	require.Equal(t, "[a]", ns.GetState(unsigned).String())
	loaded := ns.GetNode(signed.ID())
	require.Equal(t, signed.String(), loaded.String())
	require.Equal(t, signed.Record(), loaded.Record())
	num, ok := s.num.Get(ns, signed)
	require.True(t, ok)
	require.EqualValues(t, 10, num)
	text, _ := s.text.Get(ns, signed)
	require.Equal(t, "hi", text)
	for _, n := range []*enode.Node{signed, unsigned} {
		_, ok = s.volatile.Get(ns, n)
		require.False(t, ok)
	}
	require.Empty(t, tb.log.take())
	ns.Stop()
	require.Zero(t, store.Count("batch"), "nothing has changed, nothing is written")
}

func TestOtherVersionsAreDeleted(t *testing.T) {
	s := newSchema()
	store := testutil.NewFaultyStore()
	for i := range uint64(10) {
		e := entry{Record: node(i).Record(), Version: uint(6 + i%3), State: 2}
		require.NoError(t, store.Put(keyOf(node(i)), e.encode(t)))
	}
	ns := begin(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
	require.Equal(t, 3, ns.Stats().Nodes)
	require.Empty(t, ns.log.take())
	ns.clock.Run(defaultFlush)
	require.Equal(t, 3, store.Len())
}

// Bits of unknown, offline and unstored flags are not taken over, nor written
// back.
func TestForeignBitsAreMasked(t *testing.T) {
	s := newSchema()
	store := testutil.NewFaultyStore()
	e := entry{Record: node(1).Record(), Version: 7, State: ^uint64(0)}
	require.NoError(t, store.Put(keyOf(node(1)), e.encode(t)))
	ns := begin(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
	require.Equal(t, "[a, b]", ns.GetState(node(1)).String())
	require.NoError(t, ns.Persist(node(1)))
	e.State = 0b1010
	value, err := store.Get(keyOf(node(1)))
	require.NoError(t, err)
	require.Equal(t, e.encode(t), value)
}

// Every kind of bad entry is skipped, counted and left alone; a good one in
// their midst loads.
func TestBadEntriesAreSkipped(t *testing.T) {
	good := entry{Record: node(0).Record(), Version: 7, State: 2}.encode(t)
	ten, _ := rlp.EncodeToBytes(uint64(10))
	fields := func(f ...[]byte) []byte {
		return entry{Record: node(0).Record(), Version: 7, State: 2, Fields: f}.encode(t)
	}
	list := func(items ...any) []byte {
		enc, err := rlp.EncodeToBytes(items)
		require.NoError(t, err)
		return enc
	}
	values := map[string][]byte{
		"empty":             {},
		"a string":          {0x83, 'a', 'b', 'c'},
		"truncated":         good[:len(good)-2],
		"trailing bytes":    append(good[:len(good):len(good)], 0),
		"too many items":    list(node(0).Record(), uint(7), uint(2), [][]byte{}, uint(1)),
		"too few items":     list(node(0).Record(), uint(7)),
		"no record":         list([]uint{}, uint(7), uint(2), [][]byte{}),
		"record of strings": list("record", uint(7), uint(2), [][]byte{}),
		"state too large":   list(node(0).Record(), uint(7), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, [][]byte{}),
		"fields no list":    list(node(0).Record(), uint(7), uint(2), "fields"),
		"unknown field":     fields(ten, nil, nil, ten),
		"bad field":         fields([]byte{0xc0}),
		"non-canonical int": fields([]byte{0x81, 0x05}),
		"huge length":       {0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	i := uint64(1)
	for name, value := range values {
		t.Run(name, func(t *testing.T) {
			store := testutil.NewFaultyStore()
			for n := range uint64(20) {
				e := entry{Record: node(n).Record(), Version: 7, State: 2}
				require.NoError(t, store.Put(keyOf(node(n)), e.encode(t)))
			}
			bad := node(i % 20)
			require.NoError(t, store.Put(keyOf(bad), value))
			ns := begin(t, newSchema().Setup, Config{Store: store, Prefix: []byte(prefix)})
			require.Nil(t, ns.GetNode(bad.ID()))
			require.Equal(t, 19, ns.Stats().Nodes)
			require.Equal(t, 1, ns.Stats().BadEntries)
			logged := ns.log.take()
			require.Len(t, logged, 1)
			require.Contains(t, logged[0], "count=1")
			require.Contains(t, logged[0], bad.ID().String())
			ns.Stop()
			has, err := store.Has(keyOf(bad))
			require.NoError(t, err)
			require.True(t, has)
		})
		i++
	}
}

// Hundreds of bad entries make one line, and keys that hold no id are counted.
func TestBadEntriesMakeOneLine(t *testing.T) {
	store := testutil.NewFaultyStore()
	for i := range 500 {
		require.NoError(t, store.Put(fmt.Appendf(nil, "%s%d", prefix, i), []byte("?")))
	}
	require.NoError(t, store.Put([]byte("someone else's"), []byte("?")))
	ns := begin(t, newSchema().Setup, Config{Store: store, Prefix: []byte(prefix)})
	require.Equal(t, 500, ns.Stats().BadEntries)
	require.Len(t, ns.log.take(), 1)
}

// A decoder may fail in any way.
func TestDecoderThatPanicsMakesABadEntry(t *testing.T) {
	store := testutil.NewFaultyStore()
	for i, value := range []string{"fine", "error", "panic"} {
		e := entry{Record: node(uint64(i)).Record(), State: 2, Fields: [][]byte{[]byte(value)}}
		require.NoError(t, store.Put(keyOf(node(uint64(i))), e.encode(t)))
	}
	setup := new(Setup)
	setup.NewPersistentFlag("a")
	f := NewPersistentField(setup, "f", Codec[string]{
		Encode: func(s string) ([]byte, error) { return []byte(s), nil },
		Decode: func(b []byte) (string, error) {
			switch string(b) {
			case "panic":
				panic("decoder")
			case "error":
				return "", errors.New("decoder")
			}
			return string(b), nil
		},
	})
	ns := begin(t, setup, Config{Store: store, Prefix: []byte(prefix)})
	v, _ := f.Get(ns.NodeStateMachine, node(0))
	require.Equal(t, "fine", v)
	require.Equal(t, 1, ns.Stats().Nodes)
	require.Equal(t, 2, ns.Stats().BadEntries)
}

// What could be read is there; that there was more is said.
func TestStartReportsAnInterruptedLoad(t *testing.T) {
	store := testutil.NewFaultyStore()
	store.FailIf(func(op string) bool { return op == "iterate" })
	s := newSchema()
	ns := lay(t, s.Setup, Config{Store: store})
	require.ErrorIs(t, ns.Start(), testutil.ErrInjected)
	require.Contains(t, ns.log.take()[0], "could not be read to the end")
	store.FailIf(nil)
	require.NoError(t, ns.SetState(node(1), s.a, none, 0), "the machine runs")
}

// More nodes than one part of the loading takes, in the order of their ids.
func TestManyNodesLoadInOrder(t *testing.T) {
	store := testutil.NewFaultyStore()
	const nodes = 3000
	s := newSchema()
	first := begin(t, s.Setup, Config{Store: store})
	for i := uint64(1); i <= nodes; i++ {
		require.NoError(t, first.SetState(node(i), s.a, none, 0))
		require.NoError(t, s.num.Set(first.NodeStateMachine, node(i), i))
	}
	first.Stop()

	s = newSchema()
	ns := lay(t, s.Setup, Config{Store: store})
	var last enode.ID
	calls := 0
	s.num.Subscribe(ns.NodeStateMachine, func(_ Op, n *enode.Node, st Flags, from, to Value[uint64]) {
		if !to.Ok {
			return
		}
		if n.ID().String() <= last.String() || n.ID() != node(to.V).ID() || from.Ok || !st.Equals(s.a) {
			t.Error("out of order", n.ID(), to.V)
		}
		last, calls = n.ID(), calls+1
	})
	require.NoError(t, ns.Start())
	require.Equal(t, nodes, calls)
}
