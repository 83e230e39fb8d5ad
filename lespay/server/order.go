package server

// place is an element of an order. Its owner keeps it in memory.
type place struct {
	key   int64  // the order is by key,
	tie   uint64 // then by tie, which is unique in an order
	gain  uint64 // is summed up
	last  bool   // the last place of its owner
	owner *member

	left, right *place
	balance     uint64 // random; children have a smaller one
	sum         uint64 // of the gains of the subtree
	lasts       int    // number of last places in the subtree
}

func (a *place) before(b *place) bool {
	return a.key < b.key || a.key == b.key && a.tie < b.tie
}

// order is a sorted sequence of places that knows the sums of their gains: a
// treap. All operations take logarithmic time. The zero value is empty.
type order struct {
	root  *place
	size  int
	drawn uint64
}

// insert adds a place that is in no order.
func (o *order) insert(p *place) {
	p.left, p.right = nil, nil
	p.balance = o.draw()
	p.sum, p.lasts = p.gain, p.lastCount()
	o.size++
	at := &o.root
	for t := *at; t != nil && t.balance > p.balance; t = *at {
		t.sum += p.gain
		t.lasts += p.lastCount()
		at = t.child(p)
	}
	below := *at
	*at = p
	p.left, p.right = split(below, p)
	p.update()
}

// remove takes out a place that is in the order.
func (o *order) remove(p *place) {
	at := &o.root
	for t := *at; t != p; t = *at {
		t.sum -= p.gain
		t.lasts -= p.lastCount()
		at = t.child(p)
	}
	*at = merge(p.left, p.right)
	p.left, p.right = nil, nil
	o.size--
}

// first returns the first place, nil if there is none.
func (o *order) first() *place {
	t := o.root
	for t != nil && t.left != nil {
		t = t.left
	}
	return t
}

// firstLast returns the first of the last places, nil if there is none.
func (o *order) firstLast() *place {
	t := o.root
	if t == nil || t.lasts == 0 {
		return nil
	}
	for {
		switch {
		case t.left != nil && t.left.lasts > 0:
			t = t.left
		case t.last:
			return t
		default:
			t = t.right
		}
	}
}

// search returns the first place for which stop is true, and the sum of the gains
// before it, which stop gets as well; stop must be true for all places after one
// for which it is. The place before it is returned too. If there is no such place
// the sum is that of all.
func (o *order) search(stop func(p *place, before uint64) bool) (found, previous *place, before uint64) {
	for t := o.root; t != nil; {
		here := before + t.leftSum()
		if stop(t, here) {
			found = t
			t = t.left
			continue
		}
		previous = t
		before = here + t.gain
		t = t.right
	}
	return found, previous, before
}

func (p *place) child(of *place) **place {
	if of.before(p) {
		return &p.left
	}
	return &p.right
}

func (p *place) leftSum() uint64 {
	if p.left == nil {
		return 0
	}
	return p.left.sum
}

func (p *place) lastCount() int {
	if p.last {
		return 1
	}
	return 0
}

func (p *place) update() {
	p.sum, p.lasts = p.gain, p.lastCount()
	for _, c := range [2]*place{p.left, p.right} {
		if c != nil {
			p.sum += c.sum
			p.lasts += c.lasts
		}
	}
}

// split parts a tree at a place that is not in it.
func split(t, p *place) (before, after *place) {
	if t == nil {
		return nil, nil
	}
	if t.before(p) {
		t.right, after = split(t.right, p)
		before = t
	} else {
		before, t.left = split(t.left, p)
		after = t
	}
	t.update()
	return before, after
}

// merge joins two trees, all of a before all of b.
func merge(a, b *place) *place {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.balance > b.balance:
		a.right = merge(a.right, b)
		a.update()
		return a
	}
	b.left = merge(a, b.left)
	b.update()
	return b
}

// draw returns the next of a fixed sequence of numbers without a pattern
// (splitmix64): chance serves the balance of the tree alone, never a decision.
func (o *order) draw() uint64 {
	o.drawn += 0x9e3779b97f4a7c15
	z := o.drawn
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
