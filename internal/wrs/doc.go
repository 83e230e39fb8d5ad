// Package wrs chooses items at random in proportion to their weights.
//
// A [Select] holds a set of items. Their weights belong to the caller, who
// gives a function that reads them; the Select remembers the weight that it
// read last. A weight that grew has to be announced with [Select.Update]. One
// that fell corrects itself: [Select.Choose] reads the weight of the item that
// it drew and, if it fell, keeps the draw only with the probability that makes
// the outcome the same as if the fall had been announced.
//
// The remembered weights stand in a Fenwick tree over a dense slice, so every
// operation takes O(log n) and a removed item takes its room along: the last
// item moves to the free place, and memory is given back when three quarters
// of it are unused. Places depend on the order of the calls alone, never on a
// map's order: the same calls with the same seed make the same choices.
//
// A Select is not safe for concurrent use. The weight function runs inside
// Update and Choose and must not call the Select it serves.
package wrs
