package server

import (
	"encoding/binary"
	"math"

	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/lespool/lespool/lespay"
)

// The format of existing light servers. All keys begin with the version of the
// format, two bytes.
const (
	version = "\x00\x02"

	tokenPrefix = version + "pb:"         // ‖ node id: RLP of ExpiredValue
	debtPrefix  = version + "nb:"         // ‖ free client id: RLP of ExpiredValue
	offsetsKey  = version + "expiration:" // offsets of tokens and debts, 8 bytes each
)

// smallDebt is what is not worth storing. Larger, free clients are forgiven more,
// and fewer of them are stored.
const smallDebt = 1000000

func tokenKey(id enode.ID) string      { return tokenPrefix + string(id[:]) }
func debtKey(freeClient string) string { return debtPrefix + freeClient }

func isDebt(key string) bool {
	return len(key) >= len(debtPrefix) && key[:len(debtPrefix)] == debtPrefix
}

// disk reads and writes the format.
type disk struct{ db Store }

// read returns the stored balance, 0 if there is none or it cannot be decoded. An
// error means that this cannot be told.
func (d disk) read(key string) (value lespay.ExpiredValue, err error) {
	data, err := d.db.Get([]byte(key))
	if err != nil {
		// Databases have no error in common that says "not found".
		if has, hasErr := d.db.Has([]byte(key)); hasErr == nil && !has {
			return value, nil
		}
		return value, err
	}
	value, _ = decodeBalance([]byte(key), data)
	return value, nil
}

func decodeBalance(key, data []byte) (value lespay.ExpiredValue, ok bool) {
	if err := rlp.DecodeBytes(data, &value); err != nil {
		log.Error("Stored balance cannot be decoded", "key", string(key[len(version):]), "err", err)
		return lespay.ExpiredValue{}, false
	}
	return value, true
}

// readOffsets returns the stored log offsets, 0 if there are none.
func (d disk) readOffsets() (offsets, error) {
	data, err := d.db.Get([]byte(offsetsKey))
	if err != nil {
		if has, hasErr := d.db.Has([]byte(offsetsKey)); hasErr == nil && !has {
			return offsets{}, nil
		}
		return offsets{}, err
	}
	if len(data) != 16 {
		log.Error("Stored expiration has a wrong length", "bytes", len(data))
		return offsets{}, nil
	}
	number := func(b []byte) lespay.Fixed64 {
		return lespay.Fixed64(min(binary.BigEndian.Uint64(b), math.MaxInt64))
	}
	return offsets{pos: number(data[:8]), neg: number(data[8:])}, nil
}

func encodeOffsets(at offsets) []byte {
	data := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(at.pos))
	return binary.BigEndian.AppendUint64(data, uint64(at.neg))
}

// write is a balance that is to be stored, or no longer.
type write struct {
	record *record // nil if it is not in memory
	key    string
	value  lespay.ExpiredValue
	remove bool
}

// commit stores balances and offsets, all or nothing.
func (d disk) commit(writes []write, at offsets) error {
	batch := d.db.NewBatch()
	for _, w := range writes {
		if w.remove {
			if err := batch.Delete([]byte(w.key)); err != nil {
				return err
			}
			continue
		}
		data, err := rlp.EncodeToBytes(w.value)
		if err != nil {
			return err
		}
		if err := batch.Put([]byte(w.key), data); err != nil {
			return err
		}
	}
	if err := batch.Put([]byte(offsetsKey), encodeOffsets(at)); err != nil {
		return err
	}
	return batch.Write()
}

// scan calls f for the stored balances with a prefix, from a key on, until it
// returns false or the limit of records is reached. It returns the key to go on
// from, empty at the end.
func (d disk) scan(prefix, from string, limit int, f func(key string, value lespay.ExpiredValue) bool) (next string, err error) {
	it := d.db.NewIterator([]byte(prefix), []byte(from))
	defer it.Release()
	for n := 0; it.Next(); n++ {
		key := string(it.Key())
		if n == limit {
			return key[len(prefix):], nil
		}
		if prefix == tokenPrefix && len(key) != len(prefix)+len(enode.ID{}) {
			continue
		}
		if value, ok := decodeBalance(it.Key(), it.Value()); ok && !f(key, value) {
			return "", nil
		}
	}
	return "", it.Error()
}
