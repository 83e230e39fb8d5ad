// Command fork writes a copy of the library for a fork of go-ethereum whose module
// path, or the names of whose packages, are its own. The node types of such a fork
// are not go-ethereum's, so it cannot use the library as a module; it can have its
// packages in its own tree. From the root of the project:
//
//	make fork MODULE=github.com/acme/chain OUT=../chain/lespool RENAME=ethdb=chaindb
//
// Every import of go-ethereum becomes one of MODULE, with the folders of RENAME
// (pairs of old and new path below the module, separated by commas) in place of
// go-ethereum's. If such a package has another name, the code that uses it follows.
//
// # Where the copy lives
//
// If OUT lies in a tree whose go.mod says MODULE, the copy's own import paths are
// those of that place, and the tree is looked at: names are taken from its
// packages, a missing one is an error, and tests that need packages or functions
// which it does not have are left out. Otherwise the copy is for the folder AT of
// the tree, or, without AT, for a folder at its top that is named as OUT is.
//
// # What is written
//
// The packages that users import, those that these need, their tests and test
// data, the license, and lespool.sha256 with the checksums of all of it. Each Go
// file says where it is from, and that it is in the Go version of this module, so
// that the go line of the fork may stay behind. When the command is run again it
// overwrites and deletes what has the checksum written there. If anything else is
// in its way, it names it and changes nothing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	err := run(".", os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "fork:", err)
		os.Exit(1)
	}
}

// run is the command without its process. root is that of the project.
func run(root string, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("fork", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.module, "module", "", "module path of the fork (make: MODULE)")
	flags.StringVar(&o.out, "out", "", "folder to write to (make: OUT)")
	flags.StringVar(&o.at, "at", "", "folder of the fork's tree that the copy is for, if OUT is not in it (make: AT)")
	rename := flags.String("rename", "", "folders with other names in the fork, as OLD=NEW,… (make: RENAME)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if o.renames, err = parseRenames(*rename); err != nil {
		return err
	}
	c, err := plan(root, o)
	if err != nil {
		return err
	}
	if err := c.write(); err != nil {
		return err
	}
	c.report(stdout)
	return nil
}
