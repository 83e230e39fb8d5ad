package nodestate

import (
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enr"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/stretchr/testify/require"
)

// decodeStored takes what package rlp takes, and reads the same.
func FuzzDecodeStored(f *testing.F) {
	record := new(enr.Record)
	record.SetSeq(3)
	record.Set(enr.TCP(30303))
	require.NoError(f, record.SetSig(storedID{}, []byte{1, 2}))
	for _, s := range []storedNode{
		{Record: record},
		{record, 2, 1 << 63, [][]byte{{5}, nil, {0x82, 'h', 'i'}}},
	} {
		enc, err := rlp.EncodeToBytes(&s)
		require.NoError(f, err)
		f.Add(enc)
		f.Add(append(enc, 0x80))
		f.Add(enc[:len(enc)-1])
	}
	f.Add([]byte{0xc4, 0xc0, 0x80, 0x80, 0xc0})
	f.Fuzz(func(t *testing.T, entry []byte) {
		var want storedNode
		wantErr := rlp.DecodeBytes(entry, &want)
		got, err := decodeStored(entry)
		if wantErr != nil {
			require.Error(t, err, "package rlp: %v", wantErr)
			return
		}
		require.NoError(t, err)
		encoded, err := rlp.EncodeToBytes(&got)
		require.NoError(t, err)
		require.Equal(t, entry, encoded)
		require.Equal(t, want.State, got.State)
		require.Equal(t, len(want.Fields), len(got.Fields))
	})
}
