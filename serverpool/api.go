package serverpool

import (
	"fmt"
	"time"

	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/p2p/enr"

	"github.com/lespool/lespool/lespay"
)

// PrivateClientAPI is the JSON-RPC service of the pool, for the namespace
// "vflux". Beside the calls of [lespay.PrivateClientAPI] it has
//
//	vflux_poolStatus()                 see Status
//	vflux_nodeStatus(node)             see NodeStatus
//	vflux_ban(node, seconds, reason)   returns the ban, see BanInfo
//	vflux_unban(node)                  tells whether there was a ban
//	vflux_bans()                       at most 1,000
//	vflux_setTrusted(node, trusted)    see ServerPool.SetTrusted
//	vflux_forget(node)                 see ServerPool.Forget
//
// node is a hexadecimal id, an enode URL or an enr record; a server that becomes
// trusted has to be known if it is given by its id. Durations are in seconds. All
// methods may be called concurrently.
type PrivateClientAPI struct {
	*lespay.PrivateClientAPI
	pool *ServerPool
}

// API returns the JSON-RPC service of the pool.
func (p *ServerPool) API() *PrivateClientAPI {
	return &PrivateClientAPI{lespay.NewPrivateClientAPI(p.values), p}
}

// PoolStatus is [ServerPool.Status].
func (api *PrivateClientAPI) PoolStatus() Status { return api.pool.Status() }

// NodeStatus is [ServerPool.NodeStatus]; of unknown nodes it is an error.
func (api *PrivateClientAPI) NodeStatus(node string) (NodeStatus, error) {
	n, err := api.parse(node)
	if err != nil {
		return NodeStatus{}, err
	}
	s, ok := api.pool.NodeStatus(n.ID())
	if !ok {
		return NodeStatus{}, fmt.Errorf("nothing is known of node %v", n.ID())
	}
	return s, nil
}

// Ban is [ServerPool.Ban] and returns the ban.
func (api *PrivateClientAPI) Ban(node string, seconds float64, reason string) (BanInfo, error) {
	n, err := api.parse(node)
	if err != nil {
		return BanInfo{}, err
	}
	if !(seconds > 0) {
		return BanInfo{}, ErrBanTime
	}
	d := time.Duration(min(seconds, maxBan.Seconds()) * float64(time.Second))
	return api.pool.ban(n, max(d, 1), reason)
}

// Unban is [ServerPool.Unban].
func (api *PrivateClientAPI) Unban(node string) (bool, error) {
	n, err := api.parse(node)
	if err != nil {
		return false, err
	}
	return api.pool.Unban(n.ID()), nil
}

// Bans is [ServerPool.Bans].
func (api *PrivateClientAPI) Bans() []BanInfo { return append([]BanInfo{}, api.pool.Bans()...) }

// SetTrusted is [ServerPool.SetTrusted].
func (api *PrivateClientAPI) SetTrusted(node string, trusted bool) error {
	n, err := api.parse(node)
	if err != nil {
		return err
	}
	return api.pool.SetTrusted(n, trusted)
}

// Forget is [ServerPool.Forget].
func (api *PrivateClientAPI) Forget(node string) error {
	n, err := api.parse(node)
	if err != nil {
		return err
	}
	return api.pool.Forget(n.ID())
}

// parse returns the node that a text means. Of an unknown one that is given by
// its id there is nothing but that.
func (api *PrivateClientAPI) parse(text string) (*enode.Node, error) {
	if id, err := enode.ParseID(text); err == nil {
		if n := api.pool.ns.GetNode(id); n != nil {
			return n, nil
		}
		return enode.SignNull(new(enr.Record), id), nil
	}
	n, err := enode.Parse(enode.ValidSchemes, text)
	if err != nil {
		return nil, fmt.Errorf("%.200q is neither a node id nor a node record: %w", text, err)
	}
	return n, nil
}
