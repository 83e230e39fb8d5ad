package main

// suite is what is measured and recorded together.
type suite struct {
	name  string // as given to -tables
	title string // of the file
	file  string
	works []work

	// basics tells whether the floors, and the growth with the number of nodes,
	// belong to it.
	basics bool
}

var suites = []suite{
	{name: "nodestate", title: "nodestate beside go-ethereum v1.13.5's", file: "RESULTS.md", works: nodeWorks, basics: true},
	{name: "serving", title: "lespay/server beside go-ethereum v1.13.5's les/vflux/server", file: "SERVING.md", works: servingWorks},
}

// work is a pair of benchmarks, one for each side, and what is asked of ours.
type work struct {
	name      string // on the table
	benchmark string // what follows BenchmarkTheirs and BenchmarkOurs
	target    float64
	noAllocs  bool // ours must not allocate
	once      bool // one run of the body is long enough to be measured
	part      bool // the body does more than is timed: allocations are not those of the work
	unit      string
}

const (
	nsPerOp      = "ns/op"
	bytesPerNode = "B/node"
	allocsPerOp  = "allocs/op"
)

// nodeWorks is the table of nodestate's contract: our time, or memory, divided by
// theirs must not exceed the target.
var nodeWorks = []work{
	{name: "SetState, 8 subscribers, 1 hit, 1,000 nodes", benchmark: "SetState", target: 0.45, noAllocs: true, unit: nsPerOp},
	{name: "cascade: one flag brings three more", benchmark: "Cascade", target: 0.35, noAllocs: true, unit: nsPerOp},
	{name: "SetState with a timeout, and its cancel", benchmark: "Timeout", target: 0.4, unit: nsPerOp},
	{name: "1,024 goroutines in SetState at once", benchmark: "Callers", target: 0.25, unit: nsPerOp},
	{name: "GetState from all cores", benchmark: "GetState", target: 0.4, unit: nsPerOp},
	{name: "setting a uint64 field", benchmark: "Field", target: 0.5, noAllocs: true, unit: nsPerOp},
	{name: "memory of a node, one flag and one field", benchmark: "Bytes", target: 0.7, once: true, unit: bytesPerNode},
	{name: "the same with a running timeout", benchmark: "BytesTimeout", target: 0.5, once: true, unit: bytesPerNode},
	{name: "Start with 100,000 stored nodes, LevelDB", benchmark: "Start", target: 0.6, once: true, unit: nsPerOp},
	{name: "Stop with 100,000 dirty nodes, LevelDB", benchmark: "Stop", target: 0.4, once: true, unit: nsPerOp},
}

// servingWorks is the table of the pool of clients and the limiter before it, with
// the number of clients as sub-benchmark.
var servingWorks = []work{
	{name: "connect in place of the poorest, 1,000 clients", benchmark: "Connect/1000", target: 0.5, part: true, unit: nsPerOp},
	{name: "connect in place of the poorest, 10,000 clients", benchmark: "Connect/10000", target: 0.5, part: true, unit: nsPerOp},
	{name: "disconnect, and let one in, 1,000 clients", benchmark: "Disconnect/1000", target: 0.5, part: true, unit: nsPerOp},
	{name: "disconnect, and let one in, 10,000 clients", benchmark: "Disconnect/10000", target: 0.5, part: true, unit: nsPerOp},
	{name: "raise to 100 times the least, 1,000 clients", benchmark: "Raise/1000", target: 0.5, part: true, unit: nsPerOp},
	{name: "raise to 100 times the least, 10,000 clients", benchmark: "Raise/10000", target: 0.5, part: true, unit: nsPerOp},
	{name: "capacity query after a change, 1,000 clients", benchmark: "Query/1000", target: 0.5, part: true, unit: nsPerOp},
	{name: "capacity query after a change, 10,000 clients", benchmark: "Query/10000", target: 0.5, part: true, unit: nsPerOp},
	{name: "a batch is served while 2,000 nodes ask", benchmark: "Flood", target: 0.5, part: true, unit: nsPerOp},
}

// growthBenchmark is the name of the benchmarks in which the number of nodes
// grows; it has a sub-benchmark for each size and in it one for each call.
const growthBenchmark = "Growth"

// sizes are the numbers of nodes, as in the names of the sub-benchmarks.
var sizes = []string{"1000", "100000", "1000000"}

// growing is a call whose time is measured for each size.
type growing struct {
	name      string
	benchmark string // name of the sub-benchmark
	limit     float64
}

// A call that is O(1), like a bare look-up in a map, still takes longer when its
// nodes are spread over more memory than the caches hold; one that is O(n)
// would take 1,000 times as long with the largest size as with the smallest.
// The limits are how much the floor grows in the same run, times this factor:
// log 1,000,000 is twice log 1,000. Larger factors notice less.
const (
	constantGrowth    = 1
	logarithmicGrowth = 2
)

var growings = []growing{
	{"SetState", "SetState", constantGrowth},
	{"GetState", "GetState", constantGrowth},
	{"uint64 field", "Field", constantGrowth},
	{"timeout, and its cancel", "Timeout", logarithmicGrowth},
}

// floorGrowth is the sub-benchmark of the floor that the limits refer to.
const floorGrowth = "Map"

// floors is what no machine can do without.
var floors = []struct{ name, benchmark string }{
	{"bare map look-up by id, 1,000 nodes", "Map"},
	{"bare lock and unlock of a mutex", "Mutex"},
	{"bare call of a subscriber", "Callback"},
}
