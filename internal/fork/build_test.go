package main

import (
	"context"
	"encoding/json"
	"go/build"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A made-up fork has the packages of go-ethereum that the library needs, under
// another module path and with ethdb named chaindb. The copy is put into it and is
// built there; tests that need p2p servers or RPC are left out, since the fork does
// not have these. Of the two versions the older one is that of the forks that have
// the old pool: there the copy passes its tests. That takes minutes when the build
// cache is empty and is no part of a -short run. Nothing is loaded from a network
// but, where they are not in the module cache, the source of go-ethereum v1.13.5 and
// the modules that this needs.
func TestCopyWorksInFork(t *testing.T) {
	t.Run("v1.17.10", func(t *testing.T) {
		fork, said := forkWithCopy(t, "v1.17.10", "../..")
		require.Contains(t, said, "udpquery/geth135_test.go: made for another version of go-ethereum\n")
		goIn(t, fork, "vet", "./...")
	})
	t.Run("v1.13.5", func(t *testing.T) {
		if testing.Short() {
			t.Skip("one fork is enough for a short run")
		}
		fork, said := forkWithCopy(t, "v1.13.5", "../upstream")
		require.Contains(t, said, "udpquery/log_test.go: made for another version of go-ethereum\n")
		goIn(t, fork, "test", "-short", "-vet=all", "-timeout=5m", "./les/...")
	})
}

// ---------------------------------------------------------------------------

// forkWithCopy makes a fork with a copy of the library, and builds it. It returns
// what the command said.
func forkWithCopy(t *testing.T, version, from string) (root, said string) {
	t.Helper()
	root = makeFork(t, gethSource(t, from, version), from)
	var report strings.Builder
	out := filepath.Join(root, "les", "lespool")
	require.NoError(t, run("../..", []string{"-module", acme, "-out", out, "-rename", "ethdb=chaindb"}, &report, io.Discard))
	said = report.String()
	require.Contains(t, said, "  github.com/acme/chain/les/lespool/serverpool\n")
	require.Contains(t, said, "serverpool/api_test.go: needs rpc\n")
	require.Contains(t, said, "serverpool/compat_test.go: needs p2p\n")
	loadModules(t, root)
	goIn(t, root, "build", "-gcflags="+acme+"/les/...=-lang=go1.20", "./les/...") // the fork's go line may be old
	return root, said
}

const acme = "github.com/acme/chain"

// gethSource returns the folder of go-ethereum's source in the module cache.
func gethSource(t *testing.T, from, version string) string {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", geth+"@"+version)
	cmd.Dir = from
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("go-ethereum %s is not in the module cache and cannot be loaded: %v", version, err)
	}
	var got struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &got))
	return got.Dir
}

// without lists packages that the made-up fork does not have.
var without = []string{"p2p", "rpc"}

// makeFork copies what the library imports of go-ethereum. The texts are changed
// by means other than those of the command.
func makeFork(t *testing.T, source, module string) (root string) {
	t.Helper()
	root = t.TempDir()
	packages, err := readLibrary("../..")
	require.NoError(t, err)
	queue, _ := gethFolders(packages)
	queue = slices.DeleteFunc(queue, func(f string) bool { return slices.Contains(without, f) })
	ctx := build.Default
	ctx.CgoEnabled = false
	seen := make(map[string]bool)
	for ; len(queue) > 0; queue = queue[1:] {
		folder := queue[0]
		if seen[folder] {
			continue
		}
		seen[folder] = true
		p, err := ctx.ImportDir(filepath.Join(source, filepath.FromSlash(folder)), 0)
		require.NoError(t, err)
		for _, name := range slices.Concat(p.GoFiles, p.SFiles, p.HFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			require.NoError(t, err)
			write(t, filepath.Join(root, strings.Replace(folder, "ethdb", "chaindb", 1), name), forked(string(text)))
		}
		for _, imported := range p.Imports {
			if folder, ok := below(geth, imported); ok {
				queue = append(queue, folder)
			}
		}
	}
	forkModule(t, root, module)
	return root
}

var (
	gethImport    = regexp.MustCompile(`"` + regexp.QuoteMeta(geth) + `/`)
	chaindbImport = regexp.MustCompile(`"github.com/acme/chain/ethdb`)
	ethdbName     = regexp.MustCompile(`(?m)\bethdb\.|^package ethdb$`)
)

func forked(text string) string {
	text = gethImport.ReplaceAllString(text, `"github.com/acme/chain/`)
	text = chaindbImport.ReplaceAllString(text, `"github.com/acme/chain/chaindb`)
	return ethdbName.ReplaceAllStringFunc(text, func(s string) string { return strings.Replace(s, "ethdb", "chaindb", 1) })
}

var requireLine = regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`)

// forkModule writes a go.mod with the requirements of the library and, if it is
// another one, of the module that go-ethereum's source was taken from.
func forkModule(t *testing.T, root, from string) {
	t.Helper()
	mod, sum := "module github.com/acme/chain\n\ngo 1.25.0\n\n", ""
	for _, dir := range slices.Compact([]string{"../..", from}) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		require.NoError(t, err)
		for _, m := range requireLine.FindAllStringSubmatch(string(text), -1) {
			if m[1] != geth && m[1] != ours {
				mod += "require " + m[1] + " " + m[2] + "\n"
			}
		}
		sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
		require.NoError(t, err)
		sum += string(sums)
	}
	write(t, filepath.Join(root, "go.mod"), mod)
	write(t, filepath.Join(root, "go.sum"), sum)
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

// loadModules gets what the fork needs and the module cache lacks. What comes of it
// shows when the fork is built.
func loadModules(t *testing.T, dir string) {
	t.Helper()
	if out, err := goCommand(t, dir, "list", "-deps", "-test", "./les/...").CombinedOutput(); err != nil {
		t.Logf("go list: %v\n%s", err, out)
	}
}

// goIn runs the go command in the fork, without a network.
func goIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := goCommand(t, dir, args...)
	cmd.Env = append(cmd.Env, "GOPROXY=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "go %s\n%s", strings.Join(args, " "), out)
}

// goCommand is a go command in the fork. Without the folder in what is built, the
// build cache serves the next run, too.
func goCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod -trimpath", "GOSUMDB=off", "GOWORK=off", "CGO_ENABLED=0")
	return cmd
}
