package nodestate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/internal/testutil"
	. "github.com/lespool/lespool/nodestate"
)

// Whatever lies in the store: Start comes to an end, the entries beside it
// load, what loads can be stored and loads again, and what does not stays.
func FuzzLoad(f *testing.F) {
	id := node(7).ID()
	good := entry{Record: testutil.Node(1, 3, "10.0.0.1").Record(), Version: 7, State: 0b1010, Fields: [][]byte{{5}, nil, {0x82, 'h', 'i'}}}
	f.Add(id[:], good.encode(f))
	good.State, good.Fields = ^uint64(0), [][]byte{{5}, {5}, {5}, {5}}
	f.Add(id[:], good.encode(f))
	good.Version = 8
	f.Add(id[:], good.encode(f))
	f.Add([]byte("short"), []byte{0xc0})
	f.Add(id[:], []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		store := testutil.NewFaultyStore()
		beside := entry{Record: node(1).Record(), Version: 7, State: 2}
		require.NoError(t, store.Put(keyOf(node(1)), beside.encode(t)))
		full := append([]byte(prefix), key...)
		require.NoError(t, store.Put(full, value))

		s := newSchema()
		ns := lay(t, s.Setup, Config{Store: store, Prefix: []byte(prefix)})
		require.NoError(t, ns.Start())
		own := node(1).ID()
		if string(key) == string(own[:]) {
			return
		}
		require.Equal(t, "[a]", ns.GetState(node(1)).String())
		nodes, bad := ns.Stats().Nodes, ns.Stats().BadEntries
		for n := range ns.All(none, none) {
			require.NoError(t, ns.Persist(n))
		}
		ns.Stop()
		has, err := store.Has(full)
		require.NoError(t, err)
		require.Equal(t, bad == 1 || nodes == 2, has, "bad entries and nodes stay, all else goes")

		again := lay(t, newSchema().Setup, Config{Store: store, Prefix: []byte(prefix)})
		require.NoError(t, again.Start())
		require.Equal(t, nodes, again.Stats().Nodes)
		require.Equal(t, bad, again.Stats().BadEntries)
	})
}

// RLPCodec: bytes that decode are those that the value encodes to.
func FuzzRLPCodec(f *testing.F) {
	f.Add([]byte{0xc3, 1, 0x81, 0x80})
	f.Add([]byte{0xc2, 0x80, 0x80})
	f.Fuzz(func(t *testing.T, data []byte) {
		codec := RLPCodec[struct {
			N uint64
			S []byte
		}]()
		v, err := codec.Decode(data)
		if err != nil {
			return
		}
		enc, err := codec.Encode(v)
		require.NoError(t, err)
		require.Equal(t, data, enc)
	})
}
