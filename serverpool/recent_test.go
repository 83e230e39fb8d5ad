package serverpool

import (
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"pgregory.net/rapid"
)

// The latest values against a list of them, the latest last.
func TestRecentAgainstModel(t *testing.T) {
	type entry struct {
		id    enode.ID
		value int
	}
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		var model, gone, wantGone []entry
		r := newRecent(limit, func(id enode.ID, value int) { gone = append(gone, entry{id, value}) })
		for step := range 200 {
			id := idOf(rapid.Uint64Range(0, 30).Draw(t, "node"))
			at := slices.IndexFunc(model, func(e entry) bool { return e.id == id })
			switch got := r.get(id); {
			case (got != nil) != (at >= 0):
				t.Fatalf("found %v, want %v", got != nil, at >= 0)
			case got != nil && *got != model[at].value:
				t.Fatalf("value %d, want %d", *got, model[at].value)
			}
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				r.remove(id)
				if at >= 0 {
					wantGone = append(wantGone, model[at])
					model = slices.Delete(model, at, at+1)
				}
			} else {
				e := entry{id, 0}
				if at >= 0 {
					e = model[at]
					model = slices.Delete(model, at, at+1)
				} else if len(model) == limit {
					wantGone = append(wantGone, model[0])
					model = model[1:]
				}
				v := r.latest(id)
				if *v != e.value {
					t.Fatalf("value %d, want %d", *v, e.value)
				}
				*v, e.value = step, step
				model = append(model, e)
			}
			var list []entry
			for _, id := range r.ids() {
				list = append(list, entry{id, *r.get(id)})
			}
			if !slices.Equal(list, model) || !slices.Equal(gone, wantGone) || r.len() != len(model) {
				t.Fatalf("%d values %v, want %v; gone %v, want %v", r.len(), list, model, gone, wantGone)
			}
		}
	})
}

func BenchmarkRecent(b *testing.B) {
	ids := make([]enode.ID, 1<<16)
	for i := range ids {
		ids[i] = idOf(uint64(i))
	}
	r := newRecent[note](notedNodes, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.latest(ids[i%len(ids)])
	}
}
