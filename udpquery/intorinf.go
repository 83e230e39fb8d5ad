package udpquery

import (
	"math"
	"math/big"

	"github.com/ethereum/go-ethereum/rlp"
)

// Values of [IntOrInf.Type]. Any other value of it reads as the number 0.
const (
	IntNonNegative = iota // Value
	IntNegative           // minus Value
	IntPlusInf            // plus infinity; Value is ignored
	IntMinusInf           // minus infinity; Value is ignored
)

// IntOrInf is an integer of any size, or plus or minus infinity. On the wire it
// is the RLP list [Type, Value]. The zero value is the number 0.
//
// The setters never write into memory that a copy of the IntOrInf may share, so
// it can be copied like a plain number.
type IntOrInf struct {
	Type  uint8   // one of the four constants
	Value big.Int // absolute value, never negative
}

// BigInt returns the number in memory of its own. An infinity, which a big.Int
// cannot hold, gives the int64 that it saturates to: ask Inf first where that
// matters.
func (i *IntOrInf) BigInt() *big.Int {
	switch i.Type {
	case IntNonNegative:
		return new(big.Int).Set(&i.Value)
	case IntNegative:
		return new(big.Int).Neg(&i.Value)
	}
	return big.NewInt(i.Int64())
}

// Inf returns 1 for plus infinity, -1 for minus infinity and 0 for a number.
func (i *IntOrInf) Inf() int {
	switch i.Type {
	case IntPlusInf:
		return 1
	case IntMinusInf:
		return -1
	}
	return 0
}

// Int64 returns the int64 next to the number.
func (i *IntOrInf) Int64() int64 {
	switch i.Type {
	case IntNonNegative:
		if i.Value.IsInt64() {
			return i.Value.Int64()
		}
		return math.MaxInt64
	case IntNegative:
		if i.Value.IsInt64() {
			return -i.Value.Int64()
		}
		return math.MinInt64
	case IntPlusInf:
		return math.MaxInt64
	case IntMinusInf:
		return math.MinInt64
	}
	return 0
}

// SetBigInt sets the number to v, of any size. A nil v is 0.
func (i *IntOrInf) SetBigInt(v *big.Int) {
	i.Type, i.Value = IntNonNegative, big.Int{}
	if v == nil {
		return
	}
	if v.Sign() < 0 {
		i.Type = IntNegative
	}
	i.Value.Abs(v)
}

// SetInt64 sets the number to v. The two extreme values of int64 mean plus and
// minus infinity.
func (i *IntOrInf) SetInt64(v int64) {
	switch v {
	case math.MaxInt64:
		i.SetInf(1)
	case math.MinInt64:
		i.SetInf(-1)
	default:
		i.SetBigInt(big.NewInt(v))
	}
}

// SetInf sets plus infinity if sign is 1, else minus infinity.
func (i *IntOrInf) SetInf(sign int) {
	i.Type, i.Value = IntMinusInf, big.Int{}
	if sign == 1 {
		i.Type = IntPlusInf
	}
}

func (i *IntOrInf) contentSize() int {
	return rlp.IntSize(uint64(i.Type)) + i.valueSize()
}

func (i *IntOrInf) valueSize() int {
	if i.Value.IsUint64() {
		return rlp.IntSize(i.Value.Uint64())
	}
	n := (i.Value.BitLen() + 7) / 8
	return headSize(n) + n
}

// append appends the RLP of the number. Value must not be negative.
func (i *IntOrInf) append(b []byte) []byte {
	b = appendHead(b, listTag, i.contentSize())
	b = rlp.AppendUint64(b, uint64(i.Type))
	if i.Value.IsUint64() {
		return rlp.AppendUint64(b, i.Value.Uint64())
	}
	return appendString(b, i.Value.Bytes())
}

// decode reads the number that data begins with. *i must be the zero value.
func (i *IntOrInf) decode(data []byte) (rest []byte, err error) {
	fields, rest, err := rlp.SplitList(data)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, errFields
	}
	typ, fields, err := rlp.SplitUint64(fields)
	if err != nil {
		return nil, err
	}
	if typ > math.MaxUint8 {
		return nil, errTooLarge
	}
	if len(fields) == 0 {
		return nil, errFields
	}
	value, fields, err := rlp.SplitString(fields)
	if err != nil {
		return nil, err
	}
	if len(fields) > 0 {
		return nil, errFields
	}
	if len(value) > 0 && value[0] == 0 {
		return nil, rlp.ErrCanonInt
	}
	i.Type = uint8(typ)
	i.Value.SetBytes(value)
	return rest, nil
}
