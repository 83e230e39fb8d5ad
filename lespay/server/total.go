package server

import "github.com/lespool/lespool/lespay"

// tokenTotal is the sum of all tokens there are, in memory and stored. What is
// stored is added up once, in portions and while the pool works; a balance that
// gets into memory before its portion is counted at that moment, and one that is
// new when it is first changed: those who have no tokens take no memory here.
type tokenTotal struct {
	tally
	done   bool            // all that was stored has been seen
	cursor string          // what is up to here has been seen
	ahead  map[string]bool // keys beyond the cursor that were seen too
}

func newTokenTotal() tokenTotal {
	return tokenTotal{tally: make(tally), ahead: make(map[string]bool)}
}

// meet counts a balance that was just read, unless it was counted before.
func (t *tokenTotal) meet(key string, value lespay.ExpiredValue) {
	if t.done || key <= t.cursor || t.ahead[key] {
		return
	}
	t.ahead[key] = true
	t.add(value)
}

// pass counts a balance that is the next one of the scan.
func (t *tokenTotal) pass(key string, value lespay.ExpiredValue) {
	if key <= t.cursor {
		return
	}
	if !t.ahead[key] {
		t.add(value)
	}
	delete(t.ahead, key)
	t.cursor = key
}

// finish ends the scan.
func (t *tokenTotal) finish() { t.done, t.ahead = true, nil }
