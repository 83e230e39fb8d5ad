package serverpool

import "github.com/lespool/lespool/lespay"

// PrivateClientAPI is the JSON-RPC service of the pool, for the namespace
// "vflux". It has the calls of [lespay.PrivateClientAPI].
type PrivateClientAPI struct {
	*lespay.PrivateClientAPI
}

// API returns the JSON-RPC service of the pool.
func (p *ServerPool) API() *PrivateClientAPI {
	return &PrivateClientAPI{lespay.NewPrivateClientAPI(p.values)}
}
