package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const gethModule = "github.com/ethereum/go-ethereum"

// build compiles the test binary of the scenarios into dir. In it the clock of
// go-ethereum's package mclock follows package time, as virtual time needs it:
// their pool has the system's clock built in, which stands still in a bubble.
//
// The tool replaces single files only outside the module cache, so the release
// is given as a replaced module, by a link to where it lies.
func build(dir string) (binary string, err error) {
	source, err := goList("-m", "-f", "{{.Dir}}", gethModule)
	if err != nil {
		return "", err
	}
	link := filepath.Join(dir, "geth")
	if err := os.Symlink(source, link); err != nil {
		return "", err
	}
	modfile, err := moduleFile(dir, link)
	if err != nil {
		return "", err
	}
	overlay, err := overlayFile(dir, filepath.Join(link, "common", "mclock", "mclock.go"))
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "sim.test")
	_, err = goTool("test", "-c", "-o", binary, "-modfile", modfile, "-overlay", overlay,
		"-ldflags=-checklinkname=0", "./sim")
	return binary, err
}

// moduleFile copies this module's go.mod and go.sum into dir, with the release
// read from another place.
func moduleFile(dir, geth string) (string, error) {
	gomod, err := goTool("env", "GOMOD")
	if err != nil {
		return "", err
	}
	copied := filepath.Join(dir, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(gomod), name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	_, err = goTool("mod", "edit", "-replace", gethModule+"="+geth, copied)
	return copied, err
}

// overlayFile has the tool read another text instead of the file of the clock.
func overlayFile(dir, clock string) (string, error) {
	text, err := os.ReadFile(clock)
	if err != nil {
		return "", err
	}
	virtual, err := virtualClock(string(text))
	if err != nil {
		return "", err
	}
	replaced := filepath.Join(dir, "mclock.go")
	if err := os.WriteFile(replaced, []byte(virtual), 0o644); err != nil {
		return "", err
	}
	table, err := json.Marshal(map[string]map[string]string{"Replace": {clock: replaced}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, table, 0o644)
}

// virtualClock changes the text of package mclock so that its function nanotime,
// which is linked to the runtime's, asks package time.
func virtualClock(text string) (string, error) {
	const declared = "func nanotime() int64\n"
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "//go:") {
			kept = append(kept, line)
		}
	}
	text = strings.Join(kept, "")
	if strings.Count(text, declared) != 1 {
		return "", fmt.Errorf("package mclock does not declare nanotime as expected")
	}
	return strings.Replace(text, declared, "func nanotime() int64 { return time.Now().UnixNano() }\n", 1), nil
}

func goList(args ...string) (string, error) { return goTool(append([]string{"list"}, args...)...) }

// goTool runs the go command and returns what it prints, in one line.
func goTool(args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(output)), nil
}
