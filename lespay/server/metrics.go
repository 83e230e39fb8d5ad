package server

// Gauge shows a number that goes up and down. The gauges of go-ethereum's metrics
// package fit, those of every version.
type Gauge interface{ Update(value int64) }

// Meter counts events. The meters of go-ethereum's metrics package fit.
type Meter interface{ Mark(events int64) }

// Metrics are where a pool shows what it does; nil ones are skipped. They may be
// called concurrently, most are with the pool's lock held, and they must not call
// the pool. The names in the comments are those under which light servers register
// them.
type Metrics struct {
	ActiveCapacity Gauge // vflux/server/active/capacity
	ActiveCount    Gauge // vflux/server/active/count
	InactiveCount  Gauge // vflux/server/inactive/count

	Connected    Meter // vflux/server/clientEvent/connected
	Activated    Meter // vflux/server/clientEvent/activated
	Deactivated  Meter // vflux/server/clientEvent/deactivated
	Disconnected Meter // vflux/server/clientEvent/disconnected

	// The first result of each capacity query.
	QueryZero    Meter // vflux/server/capQueryZero
	QueryNonZero Meter // vflux/server/capQueryNonZero
}

type noMetric struct{}

func (noMetric) Update(int64) {}
func (noMetric) Mark(int64)   {}

// withDefaults puts a metric that does nothing wherever there is none.
func (m Metrics) withDefaults() Metrics {
	for _, g := range []*Gauge{&m.ActiveCapacity, &m.ActiveCount, &m.InactiveCount} {
		if isNil(*g) {
			*g = noMetric{}
		}
	}
	for _, mt := range []*Meter{
		&m.Connected, &m.Activated, &m.Deactivated, &m.Disconnected, &m.QueryZero, &m.QueryNonZero,
	} {
		if isNil(*mt) {
			*mt = noMetric{}
		}
	}
	return m
}
