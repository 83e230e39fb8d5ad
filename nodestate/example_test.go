package nodestate_test

import (
	"fmt"

	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/nodestate"
)

// The worked example of the package comment: every subscriber sees the states
// of a node in the order in which they came to be.
func Example() {
	setup := &nodestate.Setup{Name: "example"}
	a, b, c, d := setup.NewFlag("a"), setup.NewFlag("b"), setup.NewFlag("c"), setup.NewFlag("d")
	ns := nodestate.New(setup, nodestate.Config{})

	ns.SubscribeState(a, func(op nodestate.Op, n *enode.Node, _, _ nodestate.Flags) {
		op.SetState(n, b, nodestate.Flags{}, 0)
		op.SetState(n, c, nodestate.Flags{}, 0)
	})
	ns.SubscribeState(b, func(op nodestate.Op, n *enode.Node, _, newState nodestate.Flags) {
		if newState.HasAll(b) {
			op.SetState(n, d, nodestate.Flags{}, 0)
		}
	})
	ns.SubscribeState(nodestate.MergeFlags(b, c, d), func(_ nodestate.Op, _ *enode.Node, oldState, newState nodestate.Flags) {
		fmt.Println(oldState, "→", newState)
	})

	ns.Start()
	ns.SetState(testutil.FakeNode(1, 0), a, nodestate.Flags{}, 0)
	// Output:
	// [] → [b]
	// [b] → [b, c]
	// [b, c] → [b, c, d]
}
