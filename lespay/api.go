package lespay

import (
	"fmt"
	"math"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
)

// PrivateClientAPI serves the "vflux" namespace of go-ethereum's rpc package:
//
//	vflux_requestStats()
//	vflux_distribution(node, normalized)
//	vflux_timeout(node, failRate)
//	vflux_value(node, timeout)
//
// node is a hexadecimal id, an enode URL or an enr record; empty means all
// servers together. All methods may be called concurrently.
type PrivateClientAPI struct {
	vt *ValueTracker
}

// NewPrivateClientAPI returns the API of a tracker.
func NewPrivateClientAPI(vt *ValueTracker) *PrivateClientAPI {
	return &PrivateClientAPI{vt}
}

// RequestStats returns how much each type of request is used and what one of
// it is worth; see [ValueTracker.RequestStats].
func (api *PrivateClientAPI) RequestStats() []RequestStatsItem {
	return api.vt.RequestStats()
}

// Distribution returns the response times of a server, in seconds, with their
// amounts; see [ResponseTimeStats.Distribution].
func (api *PrivateClientAPI) Distribution(nodeStr string, normalized bool) (RtDistribution, error) {
	stats, err := api.stats(nodeStr)
	if err != nil {
		return RtDistribution{}, err
	}
	return stats.Distribution(normalized, api.vt.StatsExpFactor()), nil
}

// Timeout returns the time in seconds that the slowest failRate, in [0, 1], of
// a server's answers exceed; see [ResponseTimeStats.Timeout].
func (api *PrivateClientAPI) Timeout(nodeStr string, failRate float64) (float64, error) {
	if !(failRate >= 0 && failRate <= 1) {
		return 0, fmt.Errorf("fail rate %v is not in [0, 1]", failRate)
	}
	stats, err := api.stats(nodeStr)
	if err != nil {
		return 0, err
	}
	return stats.Timeout(failRate).Seconds(), nil
}

// Value returns what a server's service is worth, in average requests, to
// somebody who would like answers within the timeout in seconds; see
// [TimeoutWeights].
func (api *PrivateClientAPI) Value(nodeStr string, timeout float64) (float64, error) {
	if !(timeout > 0) || timeout > math.MaxInt64/float64(time.Second) {
		return 0, fmt.Errorf("timeout of %v seconds is out of range", timeout)
	}
	stats, err := api.stats(nodeStr)
	if err != nil {
		return 0, err
	}
	weights := TimeoutWeights(time.Duration(timeout * float64(time.Second)))
	return stats.Value(weights, api.vt.StatsExpFactor()), nil
}

// stats returns the statistics of a server, or of all.
func (api *PrivateClientAPI) stats(nodeStr string) (ResponseTimeStats, error) {
	if nodeStr == "" {
		return api.vt.RtStats(), nil
	}
	id, err := enode.ParseID(nodeStr)
	if err != nil {
		node, parseErr := enode.Parse(enode.ValidSchemes, nodeStr)
		if parseErr != nil {
			return ResponseTimeStats{}, fmt.Errorf("%.200q is neither a node id nor a node record: %w", nodeStr, parseErr)
		}
		id = node.ID()
	}
	return api.vt.GetNode(id).RtStats(), nil
}
