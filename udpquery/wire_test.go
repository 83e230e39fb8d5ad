package udpquery

import (
	"bytes"
	"io"
	"math"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A light client asks: what would I get, if nobody connected for less than three
// minutes had to make room for me and I bought nothing?
func TestTheMessageThatClientsSend(t *testing.T) {
	var batch Requests
	i, err := batch.Add("les", "cq", &CapacityQueryReq{Bias: 180, AddTokens: make([]IntOrInf, 1)})
	require.NoError(t, err)
	require.Zero(t, i)
	require.Equal(t, "\xd0\xcf\x83les\x82cq\x87\xc6\x81\xb4\xc3\xc2\x80\x80", string(batch.Encode()))

	var replies Replies
	require.NoError(t, replies.Decode([]byte("\xc3\x82\xc1\x64")))
	var capacities CapacityQueryReply
	require.NoError(t, replies.Get(0, &capacities))
	require.Equal(t, CapacityQueryReply{100}, capacities)
}

func TestAddRefuses(t *testing.T) {
	var batch Requests
	i, err := batch.Add("les", "cq", make(chan int))
	require.Error(t, err)
	require.Equal(t, -1, i)
	q := &CapacityQueryReq{AddTokens: make([]IntOrInf, 1)}
	q.AddTokens[0].Value.SetInt64(-1)
	_, err = batch.Add("les", "cq", q)
	require.ErrorContains(t, err, "negative")
	_, err = batch.Add("les", "cq", (*CapacityQueryReq)(nil))
	require.NoError(t, err, "package rlp gives the zero value")
	require.Len(t, batch, 1)
	for range MaxRequestLength - 1 {
		_, err = batch.Add("les", "cq", uint64(1))
		require.NoError(t, err)
	}
	i, err = batch.Add("les", "cq", uint64(1))
	require.ErrorIs(t, err, ErrTooMany)
	require.Equal(t, -1, i)
}

func TestGetOutOfRange(t *testing.T) {
	var capacities CapacityQueryReply
	for _, replies := range []Replies{nil, {}, {{0xc0}}} {
		require.ErrorIs(t, replies.Get(len(replies), &capacities), ErrNoReply)
		require.ErrorIs(t, replies.Get(-1, &capacities), ErrNoReply)
	}
	require.ErrorIs(t, Replies{{}}.Get(0, &capacities), io.EOF)
	require.Error(t, Replies{{0xc0}}.Get(0, (*CapacityQueryReply)(nil)))
	require.Error(t, Replies{{0xc0}}.Get(0, nil))
}

// What is decoded does not change when the buffer that it came in is used again,
// nor does appending to one part reach into the next.
func TestDecodedIsIndependent(t *testing.T) {
	wire := Requests{{"a", "b", []byte("first")}, {"c", "d", []byte("second")}}.Encode()
	var batch Requests
	require.NoError(t, batch.Decode(wire))
	clear(wire)
	_ = append(batch[0].Params, "overrun"...)
	require.Equal(t, Requests{{"a", "b", []byte("first")}, {"c", "d", []byte("second")}}, batch)

	wire = Replies{[]byte("first"), []byte("second")}.Encode()
	var replies Replies
	require.NoError(t, replies.Decode(wire))
	clear(wire)
	_ = append(replies[0], "overrun"...)
	require.Equal(t, Replies{[]byte("first"), []byte("second")}, replies)
}

func TestFailedDecodeChangesNothing(t *testing.T) {
	bad := []byte{0xc2, 0xc0, 0xff}
	batch, replies := Requests{{"a", "b", nil}}, Replies{{1}}
	query, reply := CapacityQueryReq{Bias: 1}, CapacityQueryReply{1}
	require.Error(t, batch.Decode(bad))
	require.Error(t, replies.Decode(bad))
	require.Error(t, query.Decode(bad))
	require.Error(t, reply.Decode(bad))
	require.Equal(t, Requests{{"a", "b", nil}}, batch)
	require.Equal(t, Replies{{1}}, replies)
	require.Equal(t, CapacityQueryReq{Bias: 1}, query)
	require.Equal(t, CapacityQueryReply{1}, reply)
}

// Lists of thousands of tiny elements are refused before memory is taken for
// them: decoding takes a few times the size of the input at most.
func TestDecodingHostileInputTakesLittleMemory(t *testing.T) {
	hostile := appendHead(nil, listTag, 60_000)
	hostile = append(hostile, bytes.Repeat([]byte{0xc0}, 60_000)...)
	nested := append([]byte{}, hostile...)
	nested = append(append(appendHead(nil, listTag, len(nested)+1), 0x80), nested...)
	for name, decode := range map[string]func() error{
		"requests": func() error { return new(Requests).Decode(hostile) },
		"replies":  func() error { return new(Replies).Decode(hostile) },
		"reply":    func() error { return new(CapacityQueryReply).Decode(hostile) },
		"query":    func() error { return new(CapacityQueryReq).Decode(nested) },
	} {
		require.ErrorIs(t, decode(), ErrTooMany, name)
		const rounds = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			_ = decode()
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/rounds, uint64(3*len(hostile)), name)
	}
}

func TestFitEmptiesWhatIsTooMuch(t *testing.T) {
	for _, size := range []int{0, 1, 10, 55, 56, 71, 72, 100, 255, 256, 1143, 1144, 1145, 1146, 5000} {
		for n := 1; n <= MaxRequestLength; n++ {
			replies := make(Replies, n)
			for i := range replies {
				replies[i] = bytes.Repeat([]byte{0xff}, size)
			}
			whole := len(replies.Encode())
			emptied := replies.fit()
			require.Len(t, replies, n)
			require.LessOrEqual(t, len(replies.Encode()), maxMessage)
			require.Equal(t, whole > maxMessage, emptied > 0, "size %d, %d of them: %d bytes", size, n, whole)
			for i, reply := range replies {
				require.Equal(t, i >= n-emptied, len(reply) == 0 && size > 0, "the first ones stay")
			}
		}
	}
	replies := Replies{bytes.Repeat([]byte{1}, 2000), []byte("small")}
	require.Equal(t, 1, replies.fit())
	require.Equal(t, Replies{nil, []byte("small")}, replies)
}

// Our encoders give the bytes of package rlp, our decoders give back the value.
func TestSameBytesAsPackageRLP(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) string {
		return strings.Repeat(string(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "text")), rapid.SampledFrom([]int{1, 19, 100}).Draw(t, "times"))
	})
	rapid.Check(t, func(t *rapid.T) {
		batch := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Request {
			return Request{text.Draw(t, "service"), text.Draw(t, "name"), []byte(text.Draw(t, "params"))}
		}), 0, 20).Draw(t, "requests")
		query := CapacityQueryReq{Bias: rapid.Uint64().Draw(t, "bias"), AddTokens: make([]IntOrInf, rapid.IntRange(0, 16).Draw(t, "amounts"))}
		for i := range query.AddTokens {
			query.AddTokens[i].Type = rapid.Byte().Draw(t, "type")
			query.AddTokens[i].Value.SetBytes([]byte(text.Draw(t, "value")))
		}
		var replies Replies
		for _, r := range batch {
			replies = append(replies, r.Params)
		}
		reply := CapacityQueryReply(rapid.SliceOfN(rapid.Uint64(), 0, 16).Draw(t, "reply"))

		encoded, err := query.Encode()
		require.NoError(t, err)
		for want, got := range map[any][]byte{
			&batch: Requests(batch).Encode(), &replies: replies.Encode(),
			&query: encoded, &reply: reply.Encode(),
		} {
			bytes, err := rlp.EncodeToBytes(want)
			require.NoError(t, err)
			require.Equal(t, bytes, got)
		}
		if len(batch) <= MaxRequestLength {
			var again Requests
			require.NoError(t, again.Decode(Requests(batch).Encode()))
			require.Equal(t, len(batch), len(again))
			for i := range again {
				require.Equal(t, batch[i].Service, again[i].Service)
				require.Equal(t, batch[i].Name, again[i].Name)
				require.Equal(t, string(batch[i].Params), string(again[i].Params))
			}
		}
	})
}

func TestIntOrInfSetters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var i IntOrInf
		i.SetBigInt(new(big.Int).Lsh(big.NewInt(77), 200)) // must leave no trace
		v := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, 0, math.MaxInt64 - 1, math.MaxInt64})).Draw(t, "v")
		i.SetInt64(v)
		require.Equal(t, v, i.Int64())
		require.Zero(t, big.NewInt(v).Cmp(i.BigInt()))
		switch v {
		case math.MaxInt64:
			require.Equal(t, 1, i.Inf())
			require.Zero(t, i.Value.Sign(), "a stale Value would go out on the wire")
		case math.MinInt64:
			require.Equal(t, -1, i.Inf())
			require.Zero(t, i.Value.Sign())
		default:
			require.Zero(t, i.Inf())
		}
		big1 := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "big"))
		if rapid.Bool().Draw(t, "negative") {
			big1.Neg(big1)
		}
		i.SetBigInt(big1)
		require.Zero(t, big1.Cmp(i.BigInt()))
		require.Zero(t, i.Inf())
		if big1.IsInt64() {
			require.Equal(t, big1.Int64(), i.Int64())
		}
	})
	var i IntOrInf
	i.SetInf(-7)
	require.Equal(t, -1, i.Inf())
	i.SetBigInt(nil)
	require.Zero(t, i.BigInt().Sign())
}

// Setting one of two copies, or changing what BigInt gave, leaves the other be.
func TestIntOrInfCopies(t *testing.T) {
	var a IntOrInf
	a.SetInt64(1000)
	b := a
	b.SetInt64(-5)
	a.BigInt().SetInt64(7)
	require.EqualValues(t, 1000, a.Int64())
	require.EqualValues(t, -5, b.Int64())
}

func FuzzRequests(f *testing.F) {
	seedVectors(f, "request_batch")
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want Requests
		err := got.Decode(data)
		if requireSameVerdict(t, err, rlp.DecodeBytes(data, &want)) {
			require.LessOrEqual(t, len(got), MaxRequestLength)
			require.Equal(t, data, got.Encode())
			require.Equal(t, data, want.Encode())
		}
	})
}

func FuzzReplies(f *testing.F) {
	seedVectors(f, "reply_batch")
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want Replies
		err := got.Decode(data)
		if requireSameVerdict(t, err, rlp.DecodeBytes(data, &want)) {
			require.LessOrEqual(t, len(got), MaxRequestLength)
			require.Equal(t, data, got.Encode())
			require.Equal(t, data, want.Encode())
		}
	})
}

func FuzzCapacityQuery(f *testing.F) {
	seedVectors(f, "capacity_query_params")
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, want CapacityQueryReq
		err := got.Decode(data)
		if requireSameVerdict(t, err, rlp.DecodeBytes(data, &want)) {
			again, err := got.Encode()
			require.NoError(t, err)
			require.Equal(t, data, again)
			for i := range got.AddTokens {
				require.Equal(t, want.AddTokens[i].Int64(), got.AddTokens[i].Int64())
			}
		}
	})
}

func FuzzCapacityReply(f *testing.F) {
	seedVectors(f, "capacity_query_reply")
	f.Fuzz(func(t *testing.T, data []byte) {
		var got CapacityQueryReply
		var want []uint64
		err := got.Decode(data)
		if requireSameVerdict(t, err, rlp.DecodeBytes(data, &want)) {
			require.Equal(t, data, got.Encode())
			require.ElementsMatch(t, want, got)
		}
	})
}

func BenchmarkEncodeQuery(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var batch Requests
		q := CapacityQueryReq{Bias: 180, AddTokens: make([]IntOrInf, 1)}
		_, _ = batch.Add("les", "cq", &q)
		batch.Encode()
	}
}

func BenchmarkDecodeQuery(b *testing.B) {
	var batch Requests
	_, _ = batch.Add("les", "cq", &CapacityQueryReq{Bias: 180, AddTokens: make([]IntOrInf, 1)})
	wire := batch.Encode()
	b.ReportAllocs()
	for b.Loop() {
		var batch Requests
		var q CapacityQueryReq
		_ = batch.Decode(wire)
		_ = q.Decode(batch[0].Params)
	}
}

// ---------------------------------------------------------------------------

// requireSameVerdict tells whether both decoders accepted. Ours may refuse in
// addition what has too many elements.
func requireSameVerdict(t *testing.T, ours, theirs error) bool {
	if theirs != nil {
		require.Error(t, ours)
		return false
	}
	if ours != nil {
		require.ErrorIs(t, ours, ErrTooMany)
		return false
	}
	return true
}
