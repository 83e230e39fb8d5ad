package lespay

import "slices"

// mappings are the lists of request names that stored baskets refer to by
// number. A list that is stored once keeps its number for ever.
//
// In memory, baskets are in the order of the application's request list; stored
// ones are in the order of their mapping. Applications pass their list in
// random order (that of a map), so a mapping with the same set of names is used
// again, whatever its order.
type mappings struct {
	lists   [][]string
	current int   // the mapping of the application's request list
	order   []int // for each name of the current mapping its index in the request list
	names   []string
}

// newMappings finds the mapping of names in the stored lists, or appends one.
func newMappings(lists [][]string, names []string) *mappings {
	m := &mappings{lists: lists, names: names}
	m.current = slices.IndexFunc(lists, func(list []string) bool {
		m.order = m.indices(list)
		return len(list) == len(names) && !slices.Contains(m.order, -1) && isPermutation(m.order)
	})
	if m.current < 0 {
		m.current = len(lists)
		m.lists = append(slices.Clip(lists), names)
		m.order = m.indices(names)
	}
	return m
}

// indices returns for each name of a list its index in the request list, or −1.
func (m *mappings) indices(list []string) []int {
	index := make(map[string]int, len(m.names))
	for i, name := range m.names {
		index[name] = i
	}
	order := make([]int, len(list))
	for i, name := range list {
		order[i] = -1
		if at, ok := index[name]; ok {
			order[i] = at
		}
	}
	return order
}

// isPermutation tells whether no index occurs twice.
func isPermutation(order []int) bool {
	seen := make(map[int]bool, len(order))
	for _, i := range order {
		if seen[i] {
			return false
		}
		seen[i] = true
	}
	return true
}

// fits tells whether a stored basket can be one of the given mapping.
func (m *mappings) fits(b basket, mapping uint64) bool {
	return mapping < uint64(len(m.lists)) && len(b.Items) == len(m.lists[mapping])
}

// load brings a stored basket, which has to fit its mapping, into the order of
// the request list. Types that the list does not have are dropped; known tells
// which of the list's types the mapping has.
func (m *mappings) load(b basket, mapping uint64) (loaded basket, known []bool) {
	order := m.order
	if mapping != uint64(m.current) {
		order = m.indices(m.lists[mapping])
	}
	known = make([]bool, len(m.names))
	loaded = basket{Items: make([]basketItem, len(m.names)), Exp: b.Exp}
	for from, to := range order {
		if to >= 0 {
			loaded.Items[to].add(b.Items[from].Amount, b.Items[from].Value)
			known[to] = true
		}
	}
	return loaded, known
}

// lost tells whether the names of a mapping are lost, which was logged before.
func (m *mappings) lost(mapping uint64) bool {
	return mapping < uint64(len(m.lists)) && len(m.lists[mapping]) == 0
}
