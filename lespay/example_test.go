package lespay_test

import (
	"fmt"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/p2p/enode"

	"github.com/lespool/lespool/internal/testutil"
	"github.com/lespool/lespool/lespay"
)

// A client with two servers: one answers fast, the other late and not always.
func ExampleValueTracker() {
	clock := new(testutil.Clock) // leave it out to run on the system's
	config := lespay.Config{
		Store: memorydb.New(),
		Clock: clock,
		Requests: []lespay.RequestInfo{
			{Name: "headers", InitAmount: 100, InitValue: 1},
			{Name: "proofs", InitAmount: 10, InitValue: 20},
		},
	}
	vt, err := lespay.NewValueTracker(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fast, slow := vt.Register(enode.ID{1}), vt.Register(enode.ID{2})
	fast.UpdateCosts([]uint64{1000, 20000})
	slow.UpdateCosts([]uint64{3, 60})
	for i := range 100 {
		request := []lespay.ServedRequest{{ReqType: 1, Amount: 1}}
		fast.Served(request, 60*time.Millisecond)
		if i%4 == 0 {
			slow.Failed(request)
		} else {
			slow.Served(request, 700*time.Millisecond)
		}
	}
	clock.Run(time.Hour)
	vt.Stop()

	// After a restart.
	vt, err = lespay.NewValueTracker(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer vt.Stop()
	timeout := vt.RtStats().Timeout(0.1)
	fmt.Println("one of ten answers takes more than", timeout.Round(10*time.Millisecond))
	for _, id := range []enode.ID{{1}, {2}} {
		value := vt.GetNode(id).RtStats().Value(lespay.TimeoutWeights(timeout), vt.StatsExpFactor())
		fmt.Printf("server %x is worth %.0f average requests\n", id[:1], value)
	}
	// Output:
	// one of ten answers takes more than 750ms
	// server 01 is worth 720 average requests
	// server 02 is worth 0 average requests
}

// An amount that halves every hour.
func ExampleExpiredValue() {
	var expirer lespay.Expirer
	expirer.SetRate(0, math.Ln2/float64(time.Hour))
	var v lespay.ExpiredValue
	v.Add(1000, expirer.LogOffset(0))
	for hours := range 4 {
		now := mclock.AbsTime(time.Duration(hours) * time.Hour)
		fmt.Println(v.Value(expirer.LogOffset(now)))
	}
	// Output:
	// 1000
	// 500
	// 250
	// 125
}
