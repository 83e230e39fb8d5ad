package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethdb"

	"github.com/lespool/lespool/serverpool"
)

// The files of a pool's own LevelDB that are damaged.

// sampleEvery is the distance of the bytes that are damaged with -short.
const sampleEvery = 83

// tooLong is when a start counts as one that hangs.
const tooLong = 30 * time.Second

func TestDamagedFiles(t *testing.T) {
	whole := databaseFiles(t)
	every := 1
	if testing.Short() {
		every = sampleEvery
	}
	opened, refused := 0, 0
	for name, content := range whole {
		if name == "LOG" { // messages, which are not read
			continue
		}
		try := func(what string, damaged []byte) {
			if startWith(t, whole, name, damaged, name+": "+what) {
				opened++
			} else {
				refused++
			}
		}
		for at := 0; at < len(content); at += every {
			try(fmt.Sprintf("byte %d flipped", at), flipped(content, at, 0xff))
			try(fmt.Sprintf("cut to %d bytes", at), content[:at])
		}
		try("missing", nil)
	}
	t.Logf("opened %d times, refused %d times", opened, refused)
	if opened == 0 || refused == 0 {
		t.Error("the damage was not where it matters")
	}
}

// databaseFiles returns the files of a LevelDB with half of the golden entries in a
// table and the rest in the log.
func databaseFiles(t *testing.T) map[string][]byte {
	dir := t.TempDir()
	withLevelDB(t, dir, func(db ethdb.KeyValueStore) {
		d := readGolden(t, "lespool").database
		for i, e := range d {
			if i == len(d)/2 {
				if err := db.Compact(nil, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Put(e.key, e.value); err != nil {
				t.Fatal(err)
			}
		}
	})
	files := make(map[string][]byte)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = content
	}
	if matches, _ := filepath.Glob(filepath.Join(dir, "*.ldb")); len(matches) == 0 {
		t.Fatal("no table")
	}
	return files
}

// startWith starts and stops a pool on the files, one of which is damaged; nil is a
// missing one. It returns whether the pool was made.
func startWith(t *testing.T, files map[string][]byte, name string, damaged []byte, what string) bool {
	dir := t.TempDir()
	for other, content := range files {
		switch {
		case other == name && damaged == nil:
			continue
		case other == name:
			content = damaged
		}
		if err := os.WriteFile(filepath.Join(dir, other), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	result := make(chan error, 1)
	go func() { result <- startAndStop(dir) }()
	select {
	case err := <-result:
		return err == nil
	case <-time.After(tooLong):
		t.Fatalf("%s: hangs", what)
		return false
	}
}

func startAndStop(dir string) error {
	pool, err := serverpool.New(serverpool.Config{Path: dir, DBKey: []byte(dbKey), Requests: listB})
	if err != nil {
		return err
	}
	pool.Start()
	pool.Status()
	pool.Stop()
	return nil
}
