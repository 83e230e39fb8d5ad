package serverpool

import (
	"fmt"

	"github.com/ethereum/go-ethereum/ethdb/leveldb"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
)

// The embedded database is small: at most some thousand entries of a few
// hundred bytes.
const (
	levelDBCache   = 16 // MiB, the least that the wrapper allows
	levelDBHandles = 16
)

// openStore opens the store that the configuration asks for. The returned
// function closes what was opened here.
func openStore(c *Config) (Store, func() error, error) {
	nothing := func() error { return nil }
	if c.Store != nil {
		return c.Store, nothing, nil
	}
	if c.Path == "" {
		return memorydb.New(), nothing, nil
	}
	db, err := leveldb.New(c.Path, levelDBCache, levelDBHandles, "", false)
	if err != nil {
		return nil, nil, fmt.Errorf("serverpool: Config.Path %s: %w", c.Path, err)
	}
	return db, db.Close, nil
}
