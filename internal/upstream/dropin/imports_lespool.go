//go:build !predecessor

package main

import (
	vfs "github.com/lespool/lespool/lespay/server"
	vfc "github.com/lespool/lespool/serverpool"
	vflux "github.com/lespool/lespool/udpquery"
)

// What the client takes.
type (
	serverPool       = vfc.ServerPool
	queryFunc        = vfc.QueryFunc
	requestInfo      = vfc.RequestInfo
	servedRequest    = vfc.ServedRequest
	nodeValueTracker = vfc.NodeValueTracker
)

var newServerPool = vfc.NewServerPool

// What both take.
type (
	requests           = vflux.Requests
	replies            = vflux.Replies
	capacityQueryReq   = vflux.CapacityQueryReq
	capacityQueryReply = vflux.CapacityQueryReply
	intOrInf           = vflux.IntOrInf
)

const capacityQueryName = vflux.CapacityQueryName

var errNoReply = vflux.ErrNoReply

// What the server takes.
type (
	clientPool            = vfs.ClientPool
	udpServer             = vfs.Server
	priceFactors          = vfs.PriceFactors
	connectedBalance      = vfs.ConnectedBalance
	atomicBalanceOperator = vfs.AtomicBalanceOperator
)

var (
	newClientPool = vfs.NewClientPool
	newServer     = vfs.NewServer
)
