package nodestate

import (
	"fmt"
	"math/bits"
	"strings"
)

// Flags is a set of flags of one [Setup]. The zero value is the empty set and
// goes with every setup. Combining non-empty sets of two setups is a
// programming error and panics. Flags is a small immutable value, free to copy
// and to share between goroutines.
type Flags struct {
	mask  uint64
	setup *Setup
}

// MergeFlags returns the union of any number of sets.
func MergeFlags(list ...Flags) (merged Flags) {
	for _, f := range list {
		merged = merged.Or(f)
	}
	return merged
}

// And returns the flags that are in both sets.
func (f Flags) And(g Flags) Flags { return Flags{f.mask & g.mask, f.common(g)} }

// AndNot returns the flags of f that are not in g.
func (f Flags) AndNot(g Flags) Flags { return Flags{f.mask &^ g.mask, f.common(g)} }

// Or returns the flags that are in at least one of the sets.
func (f Flags) Or(g Flags) Flags { return Flags{f.mask | g.mask, f.common(g)} }

// Xor returns the flags that are in exactly one of the sets.
func (f Flags) Xor(g Flags) Flags { return Flags{f.mask ^ g.mask, f.common(g)} }

// HasAll tells whether every flag of g is in f. It is true for an empty g.
func (f Flags) HasAll(g Flags) bool {
	f.common(g)
	return g.mask&^f.mask == 0
}

// HasNone tells whether no flag of g is in f. It is true for an empty g.
func (f Flags) HasNone(g Flags) bool {
	f.common(g)
	return f.mask&g.mask == 0
}

// Equals tells whether both sets hold the same flags.
func (f Flags) Equals(g Flags) bool {
	f.common(g)
	return f.mask == g.mask
}

// IsEmpty tells whether the set holds no flag.
func (f Flags) IsEmpty() bool { return f.mask == 0 }

// String lists the names in the order of their definition, like "[a, b]".
func (f Flags) String() string {
	var names []string
	for rest := f.mask; rest != 0; rest &= rest - 1 {
		names = append(names, f.setup.flags[bits.TrailingZeros64(rest)].name)
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// common returns the setup that both sets belong to.
func (f Flags) common(g Flags) *Setup {
	if f.setup == g.setup || g.setup == nil {
		return f.setup
	}
	if f.setup == nil {
		return g.setup
	}
	if f.mask == 0 {
		return g.setup
	}
	if g.mask != 0 {
		panic(fmt.Sprintf("nodestate: flags of two setups: %v of %q and %v of %q", f, f.setup.Name, g, g.setup.Name))
	}
	return f.setup
}
