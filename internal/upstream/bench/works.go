package main

// work is a pair of benchmarks, one for each side, and what is asked of ours.
type work struct {
	name      string // on the table
	benchmark string // what follows BenchmarkTheirs and BenchmarkOurs
	target    float64
	noAllocs  bool // ours must not allocate
	once      bool // one run of the body is long enough to be measured
	unit      string
}

const (
	nsPerOp      = "ns/op"
	bytesPerNode = "B/node"
	allocsPerOp  = "allocs/op"
)

// works is the table of nodestate's contract: our time, or memory, divided by
// theirs must not exceed the target.
var works = []work{
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
