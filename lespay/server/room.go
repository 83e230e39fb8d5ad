package server

import "sort"

// bidder is what an asker is worth at a capacity above 0, after whatever handicap
// applies. It does not rise with the capacity.
type bidder func(capacity uint64) int64

// admits tells whether somebody who is not a member could be one, with the
// smallest capacity.
func (k *market) admits(bid bidder) bool {
	if k.maxCount == 0 || k.maxCap < k.minCap {
		return false
	}
	if k.count >= k.maxCount {
		return bid(k.minCap) > k.steps.firstLast().key
	}
	step, _ := k.stepTo(k.minCap)
	return step == nil || bid(k.minCap) > step.key
}

// most returns the largest capacity that the asker can have, whether it is a
// member or not; 0 if it could not be one. This is the one decision of the pool:
// queries return it, and connections and raises get what it says.
//
// Who is not a member enters first with the smallest capacity. What is taken for
// that may exceed it, and then others who wait get the rest, if there are any;
// what is returned holds in spite of them.
func (k *market) most(asker *member, bid bidder, othersWait bool) uint64 {
	if asker != nil && asker.capacity > 0 {
		k.withdraw(asker)
		defer k.offer(asker)
		return max(asker.capacity, k.reach(int64(k.free()+asker.capacity), bid))
	}
	switch {
	case !k.admits(bid):
		return 0
	case k.count >= k.maxCount:
		return max(k.minCap, k.reachFrom(k.steps.firstLast().owner, bid))
	}
	free := int64(k.free())
	if step, spare := k.stepTo(k.minCap); step != nil {
		expels := step.last || k.steps.firstLast().before(step)
		if othersWait || expels {
			free -= int64(spare - spare%k.minCap)
		}
	}
	return max(k.minCap, k.reach(free, bid))
}

// reachFrom is reach for who takes over the slot of a member. Up to what is free
// with that, the asker has to be worth more than the member is with what it has.
func (k *market) reachFrom(weakest *member, bid bidder) uint64 {
	price := weakest.steps[weakest.taken].key
	k.withdraw(weakest)
	defer k.offer(weakest)
	free := k.free() + weakest.capacity
	if bid(free) <= price {
		return largest(0, free, price, bid)
	}
	return k.reach(int64(free), bid)
}

// reach returns the largest capacity for which the bidder is worth more than each
// step it has to take. What is free costs nothing; below 0, so much of what the
// steps give is lost. The bidder's own steps must not be in the order.
func (k *market) reach(free int64, bid bidder) uint64 {
	_, affordable, gained := k.steps.search(func(step *place, before uint64) bool {
		return bid(uint64(max(1, free+int64(before)+1))) <= step.key
	})
	limit := uint64(max(0, free+int64(gained)))
	if affordable == nil || limit == 0 || bid(limit) > affordable.key {
		return limit
	}
	return largest(limit-min(limit, affordable.gain), limit, affordable.key, bid)
}

// stepTo returns the last step that has to be taken for a capacity, nil if it is
// free, and what is left of all those taken. There has to be enough in all.
func (k *market) stepTo(capacity uint64) (step *place, spare uint64) {
	free := k.free()
	if free >= capacity {
		return nil, free - capacity
	}
	step, _, before := k.steps.search(func(p *place, before uint64) bool {
		return free+before+p.gain >= capacity
	})
	return step, free + before + step.gain - capacity
}

// largest returns the largest capacity in (from, to] at which the bidder is worth
// more than the price; from, if there is none.
func largest(from, to uint64, price int64, bid bidder) uint64 {
	for to-from > 1<<30 { // what is left fits an int on every platform
		if middle := from + (to-from)/2; bid(middle) > price {
			from = middle
		} else {
			to = middle
		}
	}
	return from + uint64(sort.Search(int(to-from), func(i int) bool {
		return bid(from+uint64(i)+1) <= price
	}))
}
