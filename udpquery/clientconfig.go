package udpquery

import (
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common/mclock"
	"github.com/ethereum/go-ethereum/p2p/enode"
)

// ClientConfig holds the parameters of [NewClient].
type ClientConfig struct {
	// Service is the service that is asked for capacity. The default is "les",
	// also for the empty string.
	Service string

	// Bias is the time, in whole seconds, by which the asking client would have
	// to beat those connected. The default is 180 s, also for the zero value; a
	// negative one asks without bias.
	Bias time.Duration

	// Timeout bounds a question as a whole. The default is 2 s, also for the zero
	// value: two tries of discv5, which gives up after 700 ms, and some room.
	// Larger, distant servers get another chance and silent ones take longer.
	Timeout time.Duration

	// Attempts is how often a message is sent, as long as the transport returns
	// errors and the timeout has not passed. The default is 2, also for 0; 1 is no
	// retry. The first contact between two nodes takes four packets, two round
	// trips, and is sometimes lost when both begin at once.
	Attempts int

	// Fresh is how long a server that was asked is not asked again. The default is
	// 5 s, also for the zero value; a negative value asks every time.
	Fresh time.Duration

	// CacheSize is the number of answers that are remembered. The default is 1024,
	// also for 0.
	CacheSize int

	// Clock times the two above. The default and zero value is mclock.System.
	Clock mclock.Clock

	// DialNode returns the node at the address where it is to be reached. The
	// default, also for nil or if it returns nil, is the node as it is. It must not
	// block.
	DialNode func(*enode.Node) *enode.Node

	// OnRecord is told the record of a node that had none. The default and zero
	// value is nobody. It must not block.
	OnRecord func(*enode.Node)
}

func (cfg ClientConfig) withDefaults() (ClientConfig, error) {
	switch {
	case strings.Contains(cfg.Service, ":") || len(cfg.Service) > 255:
		return cfg, fmt.Errorf("udpquery: ClientConfig.Service: no server has an id like %.40q", cfg.Service)
	case cfg.Timeout < 0:
		return cfg, fmt.Errorf("udpquery: ClientConfig.Timeout: %v is negative", cfg.Timeout)
	case cfg.Attempts < 0:
		return cfg, fmt.Errorf("udpquery: ClientConfig.Attempts: %d is negative", cfg.Attempts)
	case cfg.CacheSize < 0:
		return cfg, fmt.Errorf("udpquery: ClientConfig.CacheSize: %d is negative", cfg.CacheSize)
	}
	setDefault(&cfg.Service, DefaultService)
	setDefault(&cfg.Bias, 3*time.Minute)
	setDefault(&cfg.Timeout, 2*time.Second)
	setDefault(&cfg.Attempts, 2)
	setDefault(&cfg.Fresh, 5*time.Second)
	setDefault(&cfg.CacheSize, 1024)
	if cfg.Clock == nil {
		cfg.Clock = mclock.System{}
	}
	return cfg, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
