package udpquery

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
)

// testdata/vflux_vectors.json was computed with go-ethereum v1.13.5 (packages
// rlp, les/vflux, les/vflux/server and p2p/discover/v5wire): 131 messages and
// records, good and malformed. These categories are checked below; of the two
// others, client_db (8) holds the balances that a serving pool stores and
// token_sale (19) the messages of a service that sells tokens.
var vectorCounts = map[string]int{
	"int_or_inf":            38,
	"capacity_query_params": 19,
	"capacity_query_reply":  9,
	"request_batch":         22,
	"reply_batch":           7,
	"discv5_message":        3,
	"enr_les_entry":         6,
}

func TestVectorsAreAllThere(t *testing.T) {
	counts := make(map[string]int)
	for _, v := range readVectors(t) {
		counts[v.Category]++
	}
	require.Equal(t, 8, counts["client_db"])
	require.Equal(t, 19, counts["token_sale"])
	delete(counts, "client_db")
	delete(counts, "token_sale")
	require.Equal(t, vectorCounts, counts)
}

func TestVectorsIntOrInf(t *testing.T) {
	eachVector(t, "int_or_inf", func(t *testing.T, v vector) {
		var i IntOrInf
		rest, err := i.decode(v.bytes)
		if v.Expect != "ok" {
			require.True(t, err != nil || len(rest) > 0)
			require.Error(t, rlp.DecodeBytes(v.bytes, new(IntOrInf)))
			return
		}
		require.NoError(t, err)
		require.Empty(t, rest)
		want := v.amount(t, v.Decoded)
		want.requireEqual(t, &i)
		require.Equal(t, v.bytes, i.append(nil), "encoding")
		viaRLP, err := rlp.EncodeToBytes(&i)
		require.NoError(t, err)
		require.Equal(t, v.bytes, viaRLP)
	})
}

func TestVectorsCapacityQuery(t *testing.T) {
	eachVector(t, "capacity_query_params", func(t *testing.T, v vector) {
		var q CapacityQueryReq
		err := q.Decode(v.bytes)
		switch v.Expect {
		case "ok":
			require.NoError(t, err)
			v.requireQuery(t, &q)
			again, err := q.Encode()
			require.NoError(t, err)
			require.Equal(t, v.bytes, again)
		case "no reply": // package rlp decodes it, the service refuses it
			require.NoError(t, rlp.DecodeBytes(v.bytes, &q))
			v.requireQuery(t, &q)
			again, err := q.Encode()
			require.NoError(t, err)
			require.Equal(t, v.bytes, again)
		case "decode error / no reply":
			require.Error(t, err)
			require.Error(t, rlp.DecodeBytes(v.bytes, &q))
		default:
			t.Fatal("unknown expectation", v.Expect)
		}
		require.Equal(t, v.reply(t), (&emptyPool{}).Handle(enode.ID{7}, "10.0.0.1", "cq", v.bytes))
	})
}

func TestVectorsCapacityReply(t *testing.T) {
	eachVector(t, "capacity_query_reply", func(t *testing.T, v vector) {
		var r CapacityQueryReply
		err := r.Decode(v.bytes)
		if v.Expect != "ok" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		var want CapacityQueryReply
		v.unmarshal(t, v.Decoded, &want)
		require.Equal(t, want, r)
		require.Equal(t, v.bytes, r.Encode())
	})
}

// The server answers the batches as the deployed one does, byte for byte.
func TestVectorsRequestBatch(t *testing.T) {
	eachVector(t, "request_batch", func(t *testing.T, v vector) {
		var batch Requests
		err := batch.Decode(v.bytes)
		if strings.HasPrefix(v.Expect, "decode error") {
			require.Error(t, err)
		} else {
			var want struct {
				Requests []struct{ Service, Name, Params string }
			}
			v.unmarshal(t, v.Decoded, &want)
			require.NoError(t, rlp.DecodeBytes(v.bytes, &batch))
			require.Equal(t, len(want.Requests) > MaxRequestLength, err != nil)
			require.Equal(t, v.bytes, batch.Encode())
			require.Len(t, batch, len(want.Requests))
			for i, w := range want.Requests {
				if !strings.Contains(v.Name, "nonutf8") {
					require.Equal(t, w.Service, batch[i].Service)
				}
				require.Equal(t, w.Name, batch[i].Name)
				require.Equal(t, w.Params, hex.EncodeToString(batch[i].Params))
			}
		}
		s := NewServer(0)
		defer s.Stop()
		require.NoError(t, s.Register(&emptyPool{unsynced: strings.Contains(v.Name, "unsynced")}, "les", ""))
		require.Equal(t, v.reply(t), s.ServeEncoded(enode.ID{7}, udpAddr("10.0.0.1:30303"), v.bytes))
	})
}

func TestVectorsReplyBatch(t *testing.T) {
	eachVector(t, "reply_batch", func(t *testing.T, v vector) {
		var replies Replies
		err := replies.Decode(v.bytes)
		if v.Decoded == nil || string(v.Decoded) == "null" {
			require.Error(t, err)
			require.ErrorIs(t, replies.Get(0, new(CapacityQueryReply)), ErrNoReply)
			return
		}
		require.NoError(t, err)
		require.Equal(t, v.bytes, replies.Encode())
		var want []string
		v.unmarshal(t, v.Decoded, &want)
		require.Len(t, replies, len(want))
		for i, w := range want {
			require.Equal(t, w, hex.EncodeToString(replies[i]))
			var viaFast CapacityQueryReply
			var viaRLP []uint64
			if w == "" {
				require.EqualError(t, replies.Get(i, &viaFast), "EOF")
				require.EqualError(t, replies.Get(i, &viaRLP), "EOF")
				continue
			}
			require.NoError(t, replies.Get(i, &viaFast))
			require.NoError(t, replies.Get(i, &viaRLP))
			require.Equal(t, viaRLP, []uint64(viaFast))
		}
		require.ErrorIs(t, replies.Get(len(want), new(CapacityQueryReply)), ErrNoReply)
	})
}

// The vectors are plaintexts of discv5 messages: a type byte, then a list whose
// last items are ours.
func TestVectorsDiscv5Message(t *testing.T) {
	var question Requests
	_, err := question.Add(DefaultService, CapacityQueryName, CapacityQueryReq{Bias: 180, AddTokens: make([]IntOrInf, 1)})
	require.NoError(t, err)
	s := NewServer(0)
	defer s.Stop()
	require.NoError(t, s.Register(&emptyPool{}, "les", ""))

	eachVector(t, "discv5_message", func(t *testing.T, v vector) {
		var want struct{ Message, Protocol, Reqid string }
		v.unmarshal(t, v.Decoded, &want)
		id, err := hex.DecodeString(want.Reqid)
		require.NoError(t, err)
		from := udpAddr("10.0.0.1:30303")
		var message []byte
		switch v.Name {
		case "talkreq_preneg":
			message, err = rlp.EncodeToBytes([]any{id, ProtocolID, question.Encode()})
		case "talkresp_preneg":
			message, err = rlp.EncodeToBytes([]any{id, s.ServeEncoded(enode.ID{7}, from, question.Encode())})
		case "talkresp_empty":
			message, err = rlp.EncodeToBytes([]any{id, s.ServeEncoded(enode.ID{7}, from, []byte("nonsense"))})
		default:
			t.Fatal("unknown vector")
		}
		require.NoError(t, err)
		require.Equal(t, v.bytes[1:], message)
	})
}

func TestVectorsLesEntry(t *testing.T) {
	eachVector(t, "enr_les_entry", func(t *testing.T, v vector) {
		if v.Name == "enr_record" {
			var want struct {
				NodeID string `json:"node_id"`
				Text   string
			}
			v.unmarshal(t, v.Decoded, &want)
			n := enode.MustParse(want.Text)
			require.Equal(t, want.NodeID, n.ID().String())
			require.True(t, TakesQueries(n))
			return
		}
		var e LesEntry
		err := rlp.DecodeBytes(v.bytes, &e)
		if v.Name == "enr_les_string" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		if v.Name == "enr_les_empty" { // a server from before UDP queries
			require.Zero(t, e.Version)
			return
		}
		require.EqualValues(t, 1, e.Version)
		if v.Name == "enr_les_v1" {
			again, err := rlp.EncodeToBytes(LesEntry{Version: 1})
			require.NoError(t, err)
			require.Equal(t, v.bytes, again)
		}
	})
}

func TestTakesQueries(t *testing.T) {
	require.False(t, TakesQueries(nil))
	for value, want := range map[string]bool{
		"": false, "c0": false, "c180": false, "c101": true, "c105": true, "c20102": true,
		"01": false, "c1c0": false, "ca89ffffffffffffffffff": false,
	} {
		var r enr.Record
		if value != "" {
			raw, _ := hex.DecodeString(value)
			r.Set(enr.WithEntry("les", rlp.RawValue(raw)))
		}
		require.Equal(t, want, TakesQueries(enode.SignNull(&r, enode.ID{1})), value)
	}
}

// The entry of a hostile record reads as its first item, or not at all.
func FuzzLesEntry(f *testing.F) {
	seedVectors(f, "enr_les_entry")
	f.Fuzz(func(t *testing.T, data []byte) {
		var e LesEntry
		err := rlp.DecodeBytes(data, &e)
		var items []rlp.RawValue
		if rlp.DecodeBytes(data, &items) != nil {
			require.Error(t, err)
			return
		}
		var version uint64
		if len(items) > 0 && rlp.DecodeBytes(items[0], &version) != nil {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, version, e.Version)
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
	data, err := os.ReadFile("testdata/vflux_vectors.json")
	require.NoError(t, err)
	var file struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(data, &file))
	for i := range file.Vectors {
		file.Vectors[i].bytes, err = hex.DecodeString(file.Vectors[i].Hex)
		require.NoError(t, err)
	}
	return file.Vectors
}

func eachVector(t *testing.T, category string, check func(*testing.T, vector)) {
	for _, v := range readVectors(t) {
		if v.Category == category {
			t.Run(v.Name, func(t *testing.T) { check(t, v) })
		}
	}
}

// seedVectors adds the vectors of a category to a fuzzer's corpus.
func seedVectors(f *testing.F, category string) {
	for _, v := range readVectors(f) {
		if v.Category == category {
			f.Add(v.bytes)
		}
	}
}

func (v *vector) unmarshal(t *testing.T, raw json.RawMessage, to any) {
	require.NoError(t, json.Unmarshal(raw, to))
}

// reply returns the bytes that the server answers with, nil if none.
func (v *vector) reply(t *testing.T) []byte {
	if v.ReplyHex == nil {
		return nil
	}
	reply, err := hex.DecodeString(*v.ReplyHex)
	require.NoError(t, err)
	return reply
}

// amount is the decoded form of an IntOrInf in the vectors.
type amount struct {
	Type                 uint8
	Inf                  int
	Value, Int64, BigInt string
}

func (v *vector) amount(t *testing.T, raw json.RawMessage) (a amount) {
	v.unmarshal(t, raw, &a)
	return a
}

func (a amount) requireEqual(t *testing.T, i *IntOrInf) {
	t.Helper()
	require.Equal(t, a.Type, i.Type)
	require.Equal(t, a.Value, i.Value.String())
	require.Equal(t, a.Inf, i.Inf())
	require.Equal(t, a.Int64, strconv.FormatInt(i.Int64(), 10))
	if a.Inf == 0 {
		require.Equal(t, a.BigInt, i.BigInt().String())
	} else { // the predecessor panics
		require.Equal(t, big.NewInt(i.Int64()), i.BigInt())
	}
}

func (v *vector) requireQuery(t *testing.T, q *CapacityQueryReq) {
	t.Helper()
	var want struct {
		Bias      uint64
		AddTokens []json.RawMessage
	}
	v.unmarshal(t, v.Decoded, &want)
	require.Equal(t, want.Bias, q.Bias)
	require.Len(t, q.AddTokens, len(want.AddTokens))
	for i, raw := range want.AddTokens {
		v.amount(t, raw).requireEqual(t, &q.AddTokens[i])
	}
}

// emptyPool answers as the pool that the vectors were computed with: nobody is
// connected, a client without tokens may have 100, one with tokens all 1000.
type emptyPool struct{ unsynced bool }

func (p *emptyPool) Handle(_ enode.ID, _, name string, data []byte) []byte {
	var q CapacityQueryReq
	if name != CapacityQueryName || q.Decode(data) != nil || len(q.AddTokens) == 0 {
		return nil
	}
	reply := make(CapacityQueryReply, len(q.AddTokens))
	for i := range q.AddTokens {
		switch {
		case p.unsynced:
		case q.AddTokens[i].Int64() > 0:
			reply[i] = 1000
		default:
			reply[i] = 100
		}
	}
	return reply.Encode()
}
