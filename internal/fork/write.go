package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sums is the file with the checksums of what was written, as sha256sum -c takes it.
const sums = "lespool.sha256"

// errInTheWay is returned if files are in the way that this command did not write.
var errInTheWay = errors.New("not written by this command, or changed since, and therefore left alone; move them away first")

// write brings OUT to the state of the copy, or changes nothing. Where it is
// interrupted, or the disk is full, it can be run again.
func (c *copied) write() error {
	before, err := readSums(c.path(sums))
	if err != nil {
		return err
	}
	var inTheWay, toDelete []string
	for _, name := range sortedKeys(c.files) {
		have, err := os.ReadFile(c.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil: // also a folder where a file goes
			return err
		case bytes.Equal(have, c.files[name]) || before[name] == checksum(have):
		default:
			inTheWay = append(inTheWay, c.path(name))
		}
	}
	for _, name := range sortedKeys(before) {
		if c.files[name] != nil || !filepath.IsLocal(filepath.FromSlash(name)) {
			continue
		}
		have, err := os.ReadFile(c.path(name))
		switch {
		case err != nil:
		case before[name] == checksum(have):
			toDelete = append(toDelete, name)
		default:
			inTheWay = append(inTheWay, c.path(name)+" (no longer part of the library)")
		}
	}
	if len(inTheWay) > 0 {
		return fmt.Errorf("%w:\n  %s", errInTheWay, strings.Join(inTheWay, "\n  "))
	}
	for _, name := range sortedKeys(c.files) {
		if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(c.path(name), c.files[name], 0o644); err != nil {
			return err
		}
	}
	for _, name := range toDelete {
		if err := os.Remove(c.path(name)); err != nil {
			return err
		}
	}
	return os.WriteFile(c.path(sums), c.sums(), 0o644)
}

func (c *copied) path(name string) string { return filepath.Join(c.out, filepath.FromSlash(name)) }

func (c *copied) sums() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Copied from %s for %s.\n# Files whose checksums are these may be overwritten by the next copy.\n", ours, c.home)
	for _, name := range sortedKeys(c.files) {
		fmt.Fprintf(&b, "%s  %s\n", checksum(c.files[name]), name)
	}
	return b.Bytes()
}

// readSums returns the checksums by name; none if there is no such file.
func readSums(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	sums := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && sum != "#" {
			sums[name] = sum
		}
	}
	return sums, err
}

func checksum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// report says what was done and what is left to do.
func (c *copied) report(w io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	say("%d files written to %s", len(c.files), c.out)
	say("imports of %s now read %s", geth, c.module)
	for _, r := range c.renames {
		say("  %s is %s", r.from, r.to)
	}
	if c.tree == nil {
		say("the copy is for the folder %s of the fork's tree; its packages:", strings.TrimPrefix(c.home, c.module+"/"))
	} else {
		say("packages:")
	}
	for _, p := range c.packages {
		say("  %s/%s", c.home, p)
	}
	if len(c.leftOut) > 0 {
		say("tests left out:")
	}
	for _, f := range c.leftOut {
		say("  %s", f)
	}
	say("the fork's go.mod needs, if it does not have them:")
	for _, r := range c.needs {
		say("  %s", r)
	}
	for _, r := range c.testNeed {
		say("  %s (for the tests)", r)
	}
	say("all files are in %s, whatever the go line of the fork says", c.constraint)
	c.testHint(say)
}

// testHint says how the tests of the copy are run.
func (c *copied) testHint(say func(string, ...any)) {
	folder := "./" + strings.TrimPrefix(c.home, c.module+"/") + "/..."
	command := "go test " + folder
	if c.old == nil {
		say("its tests: %s, with -tags %s where the API is that of go-ethereum v1.13.5", command, geth135)
	} else {
		say("its tests: %s", command)
	}
	say("with a go line below 1.23 the tests need GODEBUG=asynctimerchan=0")
}
