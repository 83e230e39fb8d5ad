package server

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"

	"github.com/lespool/lespool/lespay"
)

// The vectors of package udpquery, computed with go-ethereum v1.13.5. The answers
// to capacity queries and batches come from a pool without clients, whose smallest
// capacity is 100, with limits of 10 and 1000.
const vectorFile = "../../udpquery/testdata/vflux_vectors.json"

func TestVectorsCapacityQuery(t *testing.T) {
	w := newWorld(t, nil)
	checked := 0
	for _, v := range readVectors(t) {
		if v.Category == "capacity_query_params" {
			require.Equal(t, v.reply(t), w.Handle(enode.ID{7}, "10.0.0.1", "cq", v.bytes), v.Name)
			checked++
		}
	}
	require.Equal(t, 19, checked)
}

// A server with the pool as its service answers every batch, byte for byte.
func TestVectorsRequestBatch(t *testing.T) {
	checked := 0
	for _, v := range readVectors(t) {
		if v.Category != "request_batch" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			w := newWorld(t, func(c *Config) {
				c.Synced = func() bool { return !strings.Contains(v.Name, "unsynced") }
			})
			s := NewServer(0)
			defer s.Stop()
			require.NoError(t, s.Register(w.ClientPool, "les", "Ethereum light client service"))
			from := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 30303}
			require.Equal(t, v.reply(t), s.ServeEncoded(enode.ID{7}, from, v.bytes))
		})
		checked++
	}
	require.Equal(t, 22, checked)
}

func TestVectorsStoredBalance(t *testing.T) {
	for _, v := range readVectors(t) {
		if v.Category != "client_db" || strings.HasPrefix(v.Name, "db_entry_1") {
			continue
		}
		var value lespay.ExpiredValue
		err := rlp.DecodeBytes(v.bytes, &value)
		if v.Expect != "ok" {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		again, err := rlp.EncodeToBytes(value)
		require.NoError(t, err)
		require.Equal(t, v.bytes, again)
		if v.Name == "db_expired_value" {
			var b balance
			b.give(1e6, lespay.Float64ToFixed64(1.5))
			require.Equal(t, value, b.ExpiredValue)
			require.EqualValues(t, 999999, b.amount(lespay.Float64ToFixed64(1.5)))
		}
	}
}

// Whatever comes as a query, it is answered in full or not at all.
func FuzzCapacityQuery(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Category == "capacity_query_params" {
			f.Add(v.bytes)
		}
	}
	w := newWorld(f, nil)
	w.connect(1)
	f.Fuzz(func(t *testing.T, data []byte) {
		reply := w.Handle(nodeID(2), "10.0.0.1", "cq", data)
		var q struct {
			Bias    uint64
			Amounts []struct {
				Type  uint8
				Value rlp.RawValue
			}
		}
		if reply == nil {
			return
		}
		require.NoError(t, rlp.DecodeBytes(data, &q))
		var results []uint64
		require.NoError(t, rlp.DecodeBytes(reply, &results))
		require.Len(t, results, len(q.Amounts))
	})
}

// ---------------------------------------------------------------------------

type vector struct {
	Name, Category, Hex, Expect string
	Decoded                     json.RawMessage
	ReplyHex                    *string `json:"reply_hex"`
	bytes                       []byte
}

func readVectors(t testing.TB) []vector {
	data, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	var file struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(data, &file))
	for i := range file.Vectors {
		file.Vectors[i].bytes, err = hex.DecodeString(file.Vectors[i].Hex)
		require.NoError(t, err)
	}
	return file.Vectors
}

func (v *vector) reply(t *testing.T) []byte {
	if v.ReplyHex == nil {
		return nil
	}
	reply, err := hex.DecodeString(*v.ReplyHex)
	require.NoError(t, err)
	return reply
}

func sortIDs(ids []enode.ID) {
	slices.SortFunc(ids, func(a, b enode.ID) int { return bytes.Compare(a[:], b[:]) })
}
